"""What the run file says of what starts and stops a site's ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.config.command import CommandConfig
from curtail_dist.config.exalsius import ExalsiusConfig
from curtail_dist.config.kubernetes import KubernetesConfig
from curtail_dist.config.sections import require
from curtail_dist.config.slurm import SlurmConfig
from curtail_dist.units import Seconds

_SECTIONS = ("command", "slurm", "kubernetes", "exalsius")


@dataclass(frozen=True, kw_only=True)
class ProvisionerConfig:
    """What starts and stops a site's ranks."""

    kind: str = "process"
    """`process`: torchrun, here; `command`: commands of your own; `slurm`, `kubernetes`, `exalsius`.
    Each but the first has a section of its name."""
    ranks: int = 1
    """Ranks of the site, one a GPU: they share its rows and its steps, and act as one towards other sites."""
    nodes: int = 1
    """Machines of the site, over which its ranks are spread evenly."""
    max_restarts: int = 3
    """How often torchrun restarts the site's ranks before it gives up."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the ranks' environment."""
    park_s: Seconds = 0.0
    """Real time that drained ranks stay in memory, at idle power, to be back at once; 0: they end. Not with a
    virtual clock, which would have to stand still for them."""
    compile_cache: Path | None = None
    """Directory on the site's disk for compiled kernels and graphs. Default: `cache/SITE` beside the run."""
    slots: tuple[int, ...] = ()
    """`process`: numbers of this machine's GPUs that the site may use, shared with other sites' agents on it:
    a start takes a free one for each rank, or waits until there are as many. Default: ranks see all GPUs."""
    slots_directory: Path | None = None
    """Where it is kept which slots are taken; the same for all who share them. Default: `curtail-slots` in
    $XDG_RUNTIME_DIR, else /tmp/curtail-UID."""
    command: CommandConfig | None = None
    """For `command`."""
    slurm: SlurmConfig | None = None
    """For `slurm`."""
    kubernetes: KubernetesConfig | None = None
    """For `kubernetes`."""
    exalsius: ExalsiusConfig | None = None
    """For `exalsius`."""

    def __post_init__(self) -> None:
        kinds = ("process", *_SECTIONS)
        require(self.kind in kinds, "provisioner.kind", self.kind, f"one of {', '.join(kinds)}")
        require(self.park_s >= 0, "provisioner.park_s", self.park_s, "at least 0")
        require(self.ranks >= 1, "provisioner.ranks", self.ranks, "at least 1")
        require(self.nodes >= 1, "provisioner.nodes", self.nodes, "at least 1")
        must = f"a multiple of provisioner.nodes, {self.nodes}"
        require(self.ranks % self.nodes == 0, "provisioner.ranks", self.ranks, must)
        require(self.max_restarts >= 0, "provisioner.max_restarts", self.max_restarts, "at least 0")
        for name in _SECTIONS:
            given, due = getattr(self, name) is not None, self.kind == name
            key, kind = f"provisioner.{name}", f"where provisioner.kind is {name}"
            require(given or not due, key, None, f"given {kind}")
            require(due or not given, key, "given", f"given only {kind}; it is {self.kind}")
        if self.kind == "process":
            require(
                self.nodes == 1, "provisioner.nodes", self.nodes, "1 with kind process: it is one machine"
            )
        self._check_slots()

    def _check_slots(self) -> None:
        slots, key = list(self.slots), "provisioner.slots"
        if not slots:
            require(
                self.slots_directory is None, f"{key}_directory", str(self.slots_directory), f"with {key}"
            )
            return
        require(self.kind == "process", key, slots, f"given only with kind process; it is {self.kind}")
        require(min(slots) >= 0 and len(set(slots)) == len(slots), key, slots, "distinct numbers from 0 on")
        require(len(slots) >= self.ranks, key, slots, f"at least one for each of {self.ranks} ranks")
        where = self.environment.get("CUDA_VISIBLE_DEVICES")
        must = f"left out with {key}, which set it"
        require(where is None, "provisioner.environment.CUDA_VISIBLE_DEVICES", where, must)

    @property
    def ranks_per_node(self) -> int:
        """Ranks on each of the site's machines."""
        return self.ranks // self.nodes
