"""What a run saved of what could have been saved: always-on sites above it, the offline bound below.

Both are reckoned on slots of some minutes, so a possible saving of no more than always-on training emits in
one slot is beyond what the reckoning can resolve; on a run of minutes any share may come out.
"""

import math
from dataclasses import dataclass

from curtail_dist.energy.oracle import SLOT_S
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A run's emissions between those of the same work at always-on sites and the bound."""

    reference_kg: float
    """Mean of the always-on sites of the run."""
    run_kg: float
    bound_kg: float
    work_s: Seconds
    """Site-seconds of training, the same for all three."""

    @property
    def possible_kg(self) -> float:
        """What `fraction` is a share of."""
        return self.reference_kg - self.bound_kg

    @property
    def resolvable_kg(self) -> float | None:
        """What the always-on sites emit in one slot; a smaller saving cannot be resolved. None: no work."""
        return self.reference_kg * SLOT_S / self.work_s if self.work_s > 0 else None

    @property
    def is_resolved(self) -> bool:
        """Whether the reckoning can tell the bound from training that is always on."""
        return self.resolvable_kg is not None and self.possible_kg > self.resolvable_kg

    @property
    def fraction(self) -> float | None:
        """The share of the possible saving that was made; None where nothing was to be saved."""
        # A bound that differs from the reference in the last digits alone is the same.
        if self.possible_kg < 0 or math.isclose(self.reference_kg, self.bound_kg, rel_tol=1e-9):
            return None
        return (self.reference_kg - self.run_kg) / self.possible_kg
