"""The sum of several meters, and a stated power for what none of them sees."""

import math
from collections.abc import Sequence

from curtail_dist.clock import Timepiece
from curtail_dist.energy.meters.protocol import Meter
from curtail_dist.errors import MeterUnavailable
from curtail_dist.units import Joules, Seconds, Watts


class ConstantMeter:
    """A power that the run file states; nothing measures it."""

    def __init__(self, watts: Watts, *, covers: str, clock: Timepiece) -> None:
        """Draw `watts` from the first reading on; `clock` stays its owner's."""
        self._watts = watts
        self._covers = covers
        self._clock = clock
        self._began: Seconds | None = None
        self._drawn: Joules = 0.0

    @property
    def source(self) -> str:
        """The power, and that it is only stated."""
        return f"stated {self._watts:g} W"

    @property
    def covers(self) -> str:
        """What the run file says."""
        return self._covers

    @property
    def stated(self) -> Joules:
        """All of it."""
        return self._drawn

    def read(self) -> Joules:
        """Return power times the time since the first reading."""
        now = self._clock.now()
        if self._began is None:
            self._began = now
        self._drawn = self._watts * (now - self._began)
        return self._drawn

    def close(self) -> None:
        """Nothing to let go of."""


class SumMeter:
    """Several meters as one; it owns them."""

    def __init__(self, parts: Sequence[Meter]) -> None:
        """Add up `parts`, no two of which see the same energy."""
        self._parts = tuple(parts)

    @property
    def source(self) -> str:
        """Those of the parts."""
        return " + ".join(part.source for part in self._parts)

    @property
    def covers(self) -> str:
        """All that the parts cover."""
        return " + ".join(part.covers for part in self._parts)

    @property
    def stated(self) -> Joules:
        """What any part states."""
        return math.fsum(part.stated for part in self._parts)

    def read(self) -> Joules:
        """Return the sum. Raises MeterUnavailable where any part does; the others are read all the same."""
        energies: list[Joules] = []
        failures: list[str] = []
        for part in self._parts:
            try:
                energies.append(part.read())
            except MeterUnavailable as error:
                failures.append(f"{part.source}: {error}")
        if failures:
            raise MeterUnavailable("; ".join(failures))
        return math.fsum(energies)

    def close(self) -> None:
        """Close the parts."""
        for part in self._parts:
            part.close()
