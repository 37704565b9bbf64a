"""A site's ranks as processes of this machine: one torchrun, started under a leash."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.processes import kill_below, ranks_below
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.units import Seconds

_LEASH = "curtail_dist.membership.provision.leash"
_KILL_S = 10.0
_MONITOR_S = 0.1
_LOOK_S = 0.05


def torchrun_command(config: RunConfig, run_file: Path, site: str, rendezvous_id: str) -> list[str]:
    """Return the torchrun call that starts the site's ranks of the run file's rank program."""
    provisioner = config.site(site).provisioner
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "1", "--nproc-per-node", str(provisioner.ranks)),
        *("--rdzv-backend", "etcd", "--rdzv-endpoint", config.coordination.endpoints[0]),
        *("--rdzv-id", rendezvous_id),
        *("--max-restarts", str(provisioner.max_restarts), "--monitor-interval", str(_MONITOR_S)),
        *program_arguments(config.train.program),
        *("--config", str(run_file), "--site", site),
    ]


def compile_caches(config: RunConfig, site: str) -> dict[str, str]:
    """Return where compiled graphs and kernels of the site's ranks are kept from one start to the next."""
    cache = config.site(site).provisioner.compile_cache or config.run.directory / "cache" / site
    return {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"), "TRITON_CACHE_DIR": str(cache / "triton")}


def program_arguments(program: str) -> list[str]:
    """Return how Python and torchrun take the rank program: a path that ends in .py, else a module."""
    return [program] if program.endswith(".py") else ["-m", program]


class ProcessProvisioner:
    """Owns at most one torchrun and all below it; they end with this process, however it ends.

    `start` must be called from a thread that lives as long as the ranks: the kernel ties them to it.
    """

    def __init__(
        self,
        config: RunConfig,
        run_file: Path,
        site: str,
        *,
        command: Callable[[RunConfig, Path, str, str], Sequence[str]] = torchrun_command,
    ) -> None:
        """Start nothing yet; output will go to `logs/<site>.log` in the run directory."""
        self._config = config
        self._run_file = run_file
        self._site = site
        self._command = command
        self._log = config.run.directory / "logs" / f"{site}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._starts = 0

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Start torchrun unless it runs."""
        if self.poll().running:
            return
        self._starts += 1
        # A finished rendezvous stays closed in the store, so that each start needs an id of its own.
        rendezvous_id = (
            f"{self._config.run.name}.{self._site}.{int(time.time())}.{os.getpid()}.{self._starts}"
        )
        command = self._command(self._config, self._run_file, self._site, rendezvous_id)
        caches = compile_caches(self._config, self._site)
        environment = {"OMP_NUM_THREADS": "1", **caches, **os.environ, **(variables or {})}
        environment.update(self._config.site(self._site).provisioner.environment)
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            for variable in caches:
                Path(environment[variable]).mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log, self._lock:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _LEASH, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise ProvisionError(f"the ranks of {self._site} cannot be started: {error}") from error

    def poll(self) -> RanksState:
        """Look at torchrun and the ranks below it."""
        with self._lock:
            process = self._process
            code = process.poll() if process else None
        if process is None or code is not None:
            return RanksState(running=False, code=code)
        return RanksState(running=True, pid=process.pid, ranks=ranks_below(process.pid))

    def terminate(self) -> None:
        """Send SIGTERM, which torchrun passes on to the ranks."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all below the leash, which reaps it and ends by itself."""
        process = self._process
        if process is not None and process.poll() is None:
            kill_below(process.pid)

    def close(self) -> None:
        """Kill what runs."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        deadline = time.monotonic() + _KILL_S
        # The leash may be about to start the command: look again.
        while not self._ended(process, _LOOK_S):
            kill_below(process.pid)
            if time.monotonic() > deadline:
                process.kill()
                raise ProvisionError(
                    f"the ranks of {self._site} (below {process.pid}) outlive SIGKILL by {_KILL_S:g} s; "
                    "look for a device that hangs"
                )

    @staticmethod
    def _ended(process: subprocess.Popen[bytes], timeout: Seconds) -> bool:
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True
