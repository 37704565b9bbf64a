"""What the run file says of a site whose ranks Slurm starts."""

from dataclasses import dataclass
from pathlib import Path

from curtail_dist.config.sections import require
from curtail_dist.units import Seconds

_OURS = (
    *("job-name", "comment", "output", "error", "open-mode", "signal", "requeue", "dependency", "export"),
    *("array", "clusters", "cluster", "wait", "test-only"),
)
"""Options of sbatch by which a site's job is found, told to end and read, or would not be."""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What a site asks of Slurm: one job, with a torchrun on each of the site's machines."""

    partition: str = ""
    """Default: the cluster's."""
    account: str = ""
    """Whom the job is charged to. Default: the user's."""
    qos: str = ""
    """Quality of service. Default: the account's."""
    constraint: str = ""
    """Features that the machines must have."""
    reservation: str = ""
    """Reserved machines to run on."""
    gpus_per_node: str = ""
    """GPUs of each machine, `8` or `h100:8`. Default: none is asked for."""
    cpus_per_task: int | None = None
    """CPUs of each machine, for all its ranks together. Default: the cluster's."""
    memory: str = ""
    """Memory of each machine, `200G`; `0` is all of it. Default: the cluster's."""
    time_limit_s: Seconds | None = None
    """Real time after which Slurm ends the job: the end of a window. Slurm counts it in whole minutes.
    Default: the partition's."""
    leave_s: Seconds = 180.0
    """Real time before the limit at which the ranks are told to leave; Slurm may be a minute early."""
    extra: tuple[str, ...] = ()
    """More options of sbatch, `--name=value` each."""
    prologue: str = ""
    """Lines of bash that run before torchrun, `module load cuda` say, on the first machine."""
    python: str = ""
    """Python on the machines: a path, or a name that the prologue puts on PATH. Default: the agent's own."""
    poll_s: Seconds = 5.0
    """Real time between two questions to Slurm."""
    template: Path | None = None
    """Batch script of your own, made from membership/provision/slurm/site.sbatch. Default: that one."""

    def __post_init__(self) -> None:
        section = "provisioner.slurm"
        cpus, limit = self.cpus_per_task, self.time_limit_s
        require(cpus is None or cpus >= 1, f"{section}.cpus_per_task", cpus, "at least 1")
        require(self.leave_s >= 1, f"{section}.leave_s", self.leave_s, "at least 1")
        require(self.poll_s > 0, f"{section}.poll_s", self.poll_s, "above 0")
        must = f"above {section}.leave_s, {self.leave_s:g}, and at least 60"
        require(
            limit is None or (limit > self.leave_s and limit >= 60), f"{section}.time_limit_s", limit, must
        )
        for option in self.extra:
            named = option.startswith("--") and len(option) > 2 and not any(sign in option for sign in "\n\0")
            require(named, f"{section}.extra", option, "an option of sbatch, --name=value")
            name = option.removeprefix("--").partition("=")[0]
            require(name not in _OURS, f"{section}.extra", option, "left out: the site's job needs its own")
