"""What the run file says of where events go besides the run directory."""

from dataclasses import dataclass

from curtail_dist.config.sections import require


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    """Where events go besides the run directory."""

    wandb: bool = False
    """Log to Weights & Biases, one run a site, one group a run (offline without a key)."""
    prometheus: str = ""
    """HOST:PORT at which an agent tells Prometheus of its sites, one port for each agent of a machine; port 0
    takes a free one, and the agent says which. There is no authentication. Default: nowhere."""
    step_every: int = 1
    """Every how many inner steps a `step` event is written."""

    def __post_init__(self) -> None:
        require(self.step_every >= 1, "telemetry.step_every", self.step_every, "at least 1")
        host, _, port = self.prometheus.rpartition(":")
        holds = not self.prometheus or (bool(host) and port.isdecimal() and int(port) < 2**16)
        require(holds, "telemetry.prometheus", self.prometheus, "HOST:PORT, or left out")
