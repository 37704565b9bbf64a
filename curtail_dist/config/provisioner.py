"""What the run file says of what starts and stops a site's ranks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curtail_dist.config.sections import require
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class ProvisionerConfig:
    """What starts and stops a site's ranks."""

    kind: str = "process"
    """`process`: torchrun on this machine."""
    ranks: int = 1
    """Ranks of the site, one a GPU: they share its rows and its steps, and act as one towards other sites."""
    max_restarts: int = 3
    """How often torchrun restarts the site's ranks before it gives up."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the ranks' environment."""
    park_s: Seconds = 0.0
    """Real time that drained ranks stay in memory, at idle power, to be back at once; 0: they end. Not with a
    virtual clock, which would have to stand still for them."""
    compile_cache: Path | None = None
    """Directory on the site's disk for compiled kernels and graphs. Default: `cache/SITE` beside the run."""

    def __post_init__(self) -> None:
        require(self.park_s >= 0, "provisioner.park_s", self.park_s, "at least 0")
        require(self.kind == "process", "provisioner.kind", self.kind, "process")
        require(self.ranks >= 1, "provisioner.ranks", self.ranks, "at least 1")
        require(self.max_restarts >= 0, "provisioner.max_restarts", self.max_restarts, "at least 0")
