"""What Slurm is asked for a site: sbatch's options, and the batch script made from a template."""

import hashlib
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.config.slurm import SlurmConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.slurm.step import JOB, TOLD
from curtail_dist.membership.provision.torchrun import program_arguments, torchrun_command
from curtail_dist.units import Seconds

_PACKAGE = "curtail_dist.membership.provision.slurm"
_STEP = f"{_PACKAGE}.step"
_RANK = f"{_PACKAGE}.rank"
_TEMPLATE = "site.sbatch"
_BLANK = re.compile(r"\{\{(\w*)\}\}")

Command = Callable[[RunConfig, Path, str], Sequence[str]]
"""What makes the command of one machine, from the run file's value, its path and the site."""


def slurm_section(config: RunConfig, site: str) -> SlurmConfig:
    """Return the section of a site whose provisioner is of kind `slurm`."""
    own = config.site(site).provisioner.slurm
    assert own is not None, "the run file's check demands it of this kind"
    return own


def job_name(config: RunConfig, site: str) -> str:
    """Return the name by which the site's job is found again, and the job of no other run.

    Runs of one name differ by their directories, of which a hash is in it.
    """
    place = hashlib.sha256(str(config.run.directory).encode()).hexdigest()[:8]
    return re.sub(r"[^\w.-]", "_", f"curtail.{config.run.name}.{site}.{place}", flags=re.ASCII)


def log_path(config: RunConfig, site: str) -> Path:
    """Return where the job's output goes."""
    return config.run.directory / "logs" / f"{site}.log"


def record_path(config: RunConfig, site: str, job: int, restarts: int) -> Path:
    """Return the file into which the batch script writes how the ranks ended."""
    return Path(f"{_record(config, site)}.{job}.{restarts}.end")


def python_of(own: SlurmConfig) -> str:
    """Return Python's name on the machines."""
    return own.python or sys.executable


def site_command(config: RunConfig, run_file: Path, site: str) -> list[str]:
    """Return the torchrun call of one machine, whose ranks hear SIGTERM by themselves."""
    name = f"{config.run.name}.{site}.slurm.{JOB}"
    python = python_of(slurm_section(config, site))
    whole = torchrun_command(config, run_file, site, name, python=python)
    program = program_arguments(config.train.program)
    begin = len(whole) - len(program) - len(("--config", str(run_file), "--site", site))
    assert whole[begin : begin + len(program)] == program, "torchrun's line ends with the rank program's own"
    return [*whole[:begin], "-m", _RANK, *whole[begin:]]


def sbatch_options(config: RunConfig, site: str) -> list[str]:
    """Return sbatch's options, the script coming from its standard input."""
    own, provisioner = slurm_section(config, site), config.site(site).provisioner
    limit = own.time_limit_s
    asked = {
        "partition": own.partition,
        "account": own.account,
        "qos": own.qos,
        "constraint": own.constraint,
        "reservation": own.reservation,
        "gpus-per-node": own.gpus_per_node,
        "cpus-per-task": own.cpus_per_task,
        "mem": own.memory,
        "time": None if limit is None else _duration(limit),
    }
    return [
        "--parsable",
        f"--job-name={job_name(config, site)}",
        f"--comment={config.run.directory}",
        f"--output={_literal(log_path(config, site))}",
        "--open-mode=append",
        f"--nodes={provisioner.nodes}",
        "--ntasks-per-node=1",
        f"--signal=TERM@{round(own.leave_s)}",
        "--requeue",
        "--export=ALL",
        "--dependency=singleton",  # of two starts that race, one waits until the other has been taken back
        *(f"--{name}={value}" for name, value in asked.items() if value not in ("", None)),
        *own.extra,
    ]


def batch_script(config: RunConfig, run_file: Path, site: str, command: Command = site_command) -> str:
    """Return the batch script. Raises ProvisionError where the template cannot be used."""
    own = slurm_section(config, site)
    filled = {
        "prologue": own.prologue,
        "step": _step(config, run_file, site, command),
        "record": shlex.quote(_record(config, site)),
        "told": str(TOLD),
    }
    return _filled(_template(own.template), filled, str(own.template or _TEMPLATE))


def _step(config: RunConfig, run_file: Path, site: str, command: Command) -> str:
    own, nodes = slurm_section(config, site), config.site(site).provisioner.nodes
    cpus = () if own.cpus_per_task is None else (f"--cpus-per-task={own.cpus_per_task}",)
    srun = [
        *("srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", *cpus),
        # A machine whose ranks have left first must not take the others down.
        *("--kill-on-bad-exit=0", "--wait=0", "--mpi=none", "--export=ALL", "--input=none"),
    ]
    return shlex.join([*srun, python_of(own), "-m", _STEP, *command(config, run_file, site)])


def _filled(template: str, values: Mapping[str, str], name: str) -> str:
    asked = set(_BLANK.findall(template))
    for blank in sorted(asked - values.keys()):
        raise ProvisionError(
            f"{{{{{blank}}}}} stands in {name}; it may hold {', '.join(sorted(values))} in double braces"
        )
    missing = sorted({"step", "record"} - asked)
    if missing:
        raise ProvisionError(f"{name} lacks {{{{{missing[0]}}}}}; begin with {_TEMPLATE} of this package")
    return _BLANK.sub(lambda found: values[found.group(1)], template)


def _template(own: Path | None) -> str:
    if own is None:
        return files(_PACKAGE).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    try:
        return own.read_text(encoding="utf-8")
    except OSError as error:
        raise ProvisionError(
            f"provisioner.slurm.template is {own}, which cannot be read ({error.strerror}); give the path of "
            "an existing file"
        ) from error


def _record(config: RunConfig, site: str) -> str:
    return str(config.run.directory / "logs" / f"{site}.slurm")


def _literal(path: Path) -> str:
    """Return a path in which Slurm finds nothing to fill in."""
    return str(path).replace("%", "%%")


def _duration(seconds: Seconds) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
