"""What DiLoCo asks of a site: the seam between the outer step and the run."""

from typing import TYPE_CHECKING, Protocol

from curtail_dist.outer.settings import OuterSettings

if TYPE_CHECKING:
    from curtail_dist.outer.optimizer import DiLoCo


class Driver(Protocol):
    """What decides when a round is due: a Site."""

    @property
    def outer_settings(self) -> OuterSettings:
        """What the run sets about its outer step."""
        ...

    def attach(self, outer: "DiLoCo") -> None:
        """Join the run with this optimizer's model; returns when it has adopted the run's state."""
        ...

    def step_done(self, tokens: int) -> None:
        """Count an inner step; completes the round when it is due."""
        ...

    def note_loss(self, loss: float) -> None:
        """Take note of the loss of the inner step under way, before `step_done`."""
        ...
