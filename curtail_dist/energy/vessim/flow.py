"""A microgrid on its way through run time, tick by tick, and what its site draws meanwhile."""

import copy
import math
from datetime import timedelta

import vessim  # pyright: ignore[reportMissingTypeStubs]  (it ships no types)

from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.vessim.scenario import Battery, Scenario
from curtail_dist.units import Seconds, Watts


class Draw(vessim.Signal):
    """What a site draws, as it is fed: a Vessim input that does not hold a value longer than it may.

    Where nothing is known that is young enough the site is taken to train, which leaves the least to spare.
    """

    def __init__(self, *, begin: Seconds, first: Watts | None, unknown: Watts, max_age_s: Seconds) -> None:
        """Start with `first` (None: unknown); a value counts until `max_age_s` after it was fed."""
        self._begin = begin
        self._watts = first
        self._unknown = unknown
        self._max_age_s = max_age_s
        self._fed_at: Seconds = begin

    def feed(self, watts: Watts, now: Seconds) -> None:
        """Take what the site draws from run time `now` on. Raises ValueError for what is no power."""
        if not (math.isfinite(watts) and watts >= 0):
            raise ValueError(f"a site's power is {watts} W; it must be finite and at least 0: feed none")
        self._watts, self._fed_at = watts, now

    def at(self, elapsed: timedelta | float | None = None) -> Watts:
        """Return the power at Vessim's elapsed time, W, at least 0."""
        if elapsed is None:
            raise ValueError("the power of a site is asked for at no time; give the elapsed time")
        seconds = elapsed.total_seconds() if isinstance(elapsed, timedelta) else elapsed
        expired = self._begin + seconds - self._fed_at > self._max_age_s
        return self._unknown if self._watts is None or expired else self._watts


class KnownDraw(vessim.Signal):
    """What a site draws, known in advance: a Vessim input."""

    def __init__(self, watts: StepFunction) -> None:
        """Take a series that begins with the scenario, at Vessim's elapsed time 0, and covers it."""
        self._watts = watts

    def at(self, elapsed: timedelta | float | None = None) -> Watts:
        """Return the power at Vessim's elapsed time, W."""
        if elapsed is None:
            raise ValueError("the power of a site is asked for at no time; give the elapsed time")
        seconds = elapsed.total_seconds() if isinstance(elapsed, timedelta) else elapsed
        return self._watts.at(self._watts.start + seconds)


class Flow:
    """Advances one microgrid to the run's time, however it jumps. Owns its battery.

    A tick is dispatched once time has passed it, so that what the site draws from the moment of a tick on
    counts for that tick. The battery depends on the times and values of the draw alone, and not on when the
    flow was advanced, as long as it is advanced before each change of the draw.
    """

    def __init__(
        self, scenario: Scenario, draw: vessim.Signal, battery: Battery | None, *, tick: int = 0
    ) -> None:
        """Begin with `tick` and the battery as it stands; nothing flows before."""
        self._scenario = scenario
        self._battery = battery
        self._microgrid = scenario.microgrid(draw, battery)
        self._tick = tick
        self._next = tick

    def branch(self, draw: vessim.Signal) -> "Flow":
        """Return a flow on which the site draws otherwise from the last tick on; this one stays."""
        battery = copy.copy(self._battery)
        if battery is not None:
            battery.current_power = 0.0
        return Flow(self._scenario, draw, battery, tick=self._tick)

    def advance(self, now: Seconds) -> None:
        """Dispatch every tick before `now`, and fill the battery up to the tick at or before it.

        `now` must be before the scenario's end.
        """
        step_s = self._scenario.config.step_s
        passed = (now - self._scenario.begin) / step_s
        for tick in range(self._next, math.ceil(passed)):
            self._microgrid.sample(tick * step_s)
            self._microgrid.advance(tick * step_s)
            self._next = tick + 1
        if passed > self._tick:
            self._tick = math.floor(passed)
            self._microgrid.finish(self._tick * step_s)

    def stored_w(self) -> Watts:
        """Return the power that the battery can give for `storage.sustain_s`, as of the last tick."""
        storage = self._scenario.config.storage
        if self._battery is None or storage is None:
            return 0.0
        return -float(self._battery.feasible_range(storage.sustain_s)[0])  # numpy's, from the traces
