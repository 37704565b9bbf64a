"""The torchrun command line that starts a site's ranks, and what it finds in its environment."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError

_MONITOR_S = 0.1


def torchrun_command(
    config: RunConfig, run_file: Path, site: str, rendezvous_id: str, *, python: str = sys.executable
) -> list[str]:
    """Return the torchrun call that starts the ranks of one of the site's machines; it is the same on each.

    It ends with the rank program's own arguments. Raises ProvisionError where torchrun could not take it.
    """
    provisioner = config.site(site).provisioner
    options = rendezvous_options(config)
    return [
        *(python, "-m", "torch.distributed.run"),
        *("--nnodes", str(provisioner.nodes), "--nproc-per-node", str(provisioner.ranks_per_node)),
        *("--rdzv-backend", "etcd", "--rdzv-endpoint", ",".join(config.coordination.endpoints)),
        *("--rdzv-id", rendezvous_id),
        *(("--rdzv-conf", options) if options else ()),
        *("--max-restarts", str(provisioner.max_restarts), "--monitor-interval", str(_MONITOR_S)),
        *program_arguments(config.train.program),
        *("--config", str(run_file), "--site", site),
    ]


def rendezvous_id(config: RunConfig, site: str, start: str | int) -> str:
    """Return a name for the rendezvous of a start, which this process calls `start`, as for no other.

    A finished rendezvous stays closed in the store, so that each start needs one of its own.
    """
    return f"{config.run.name}.{site}.{int(time.time())}.{os.getpid()}.{start}"


def rendezvous_options(config: RunConfig) -> str:
    """Return `--rdzv-conf`: how etcd is reached, by names of files alone; nothing of what they hold.

    Raises ProvisionError for a name that torchrun would take apart.
    """
    store, tls = config.coordination, config.coordination.tls
    given: dict[str, object] = {} if tls is None else {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    given |= {"user": store.user, "password_file": store.password_file}
    given |= {"secret_file": config.security.secret_file}
    said = {name: str(value) for name, value in given.items() if value}
    for name, value in said.items():
        if "," in value:
            raise ProvisionError(
                f"{name} of the run file is {value!r}; it must hold no comma, at which torchrun would cut it"
            )
    return ",".join(f"{name}={value}" for name, value in said.items())


def compile_caches(config: RunConfig, site: str) -> dict[str, str]:
    """Return where compiled graphs and kernels of the site's ranks are kept from one start to the next."""
    cache = config.site(site).provisioner.compile_cache or config.run.directory / "cache" / site
    return {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"), "TRITON_CACHE_DIR": str(cache / "triton")}


def defaults(config: RunConfig, site: str) -> dict[str, str]:
    """Return the variables that torchrun is to find unless the machine or the run file has its own."""
    # torchrun would open a store for its ranks, which anybody who reaches the machine could read and write,
    # and in which ranks that are restarted find the addresses of the dead (torch 2.15).
    alone = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return {"OMP_NUM_THREADS": "1", **alone, **compile_caches(config, site)}


def site_environment(
    config: RunConfig, site: str, machine: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """Return torchrun's whole environment on a machine whose own is `machine`.

    What a start adds (`variables`) comes before what the machine has, and what the run file says before both.
    """
    own = config.site(site).provisioner.environment
    return {**defaults(config, site), **machine, **variables, **own}


def program_arguments(program: str) -> list[str]:
    """Return how Python and torchrun take the rank program: a path that ends in .py, else a module."""
    return [program] if program.endswith(".py") else ["-m", program]
