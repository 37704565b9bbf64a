"""What DiLoCo asks of a site: the seam between the outer step and the run."""

from typing import TYPE_CHECKING, Protocol

from curtail_dist.outer.anchor import OuterFactory
from curtail_dist.outer.rules import OuterRules

if TYPE_CHECKING:
    from curtail_dist.outer.optimizer import DiLoCo


class Driver(Protocol):
    """What decides when a round is due: a Site."""

    @property
    def outer_factory(self) -> OuterFactory:
        """The run's outer optimizer."""
        ...

    @property
    def codec(self) -> str:
        """Name of the run's codec."""
        ...

    @property
    def outer_rules(self) -> OuterRules:
        """What else the run sets about its outer step."""
        ...

    @property
    def fragments(self) -> int:
        """F, into how many fragments the model is divided."""
        ...

    @property
    def mix_alpha(self) -> float:
        """alpha, the share of the local parameters that an outer step leaves."""
        ...

    def attach(self, outer: "DiLoCo") -> None:
        """Join the run with this optimizer's model; returns when it has adopted the run's state."""
        ...

    def step_done(self, tokens: int) -> None:
        """Count an inner step; completes the round when it is due."""
        ...
