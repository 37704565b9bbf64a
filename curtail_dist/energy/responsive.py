"""A signal whose values depend on what its site draws, played for whatever that may be."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from curtail_dist.clock import Timepiece
from curtail_dist.config import PowerConfig
from curtail_dist.energy.emissions import Interval, PowerModel
from curtail_dist.energy.signals import Fed, OutsideTrace, Reading
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.units import Seconds


@runtime_checkable
class Responsive(Fed, Protocol):
    """A signal that is known in advance but for what its site draws: a microgrid's."""

    def latest(self) -> Reading:
        """Return what holds now. See Signal."""
        ...

    def going_on(self, until: Seconds) -> StepFunction:
        """Return what comes from now to `until`, as far as it is known, if the site draws on as it does.

        Raises OutsideTrace where nothing is known of now.
        """
        ...

    def afresh(self, clock: Timepiece) -> "Responsive":
        """Return one to which nothing was fed yet, by another clock."""
        ...

    def drawing(self, intervals: Sequence[Interval], power: PowerModel, until: Seconds) -> StepFunction:
        """Return the series from run time 0 to `until` if the site did so; it is off where no interval is."""
        ...

    def greenest(self, until: Seconds) -> StepFunction:
        """Return the lowest that each moment up to `until` can be, whatever the site draws up to train_w."""
        ...


def fed_power(power: PowerConfig) -> PowerModel:
    """Return the watts that an agent without a meter feeds in each phase: by its site's stage, without PUE.

    A site that exchanges is on, which counts as training.
    """
    stated = PowerModel.from_config(power)
    return PowerModel(
        train_w=stated.train_w,
        idle_w=stated.train_w,
        join_w=stated.join_w,
        sync_w=stated.train_w,
        capped_w=stated.capped_w,
    )


class Lived:
    """A responsive signal in a simulation: told what its site does, and read at each poll."""

    def __init__(self, signal: Responsive, power: PowerModel) -> None:
        """Begin at run time 0 with the site off; `power` is what is fed in each phase."""
        self._moment = _Moment()
        self._signal = signal.afresh(self._moment)
        self._power = power
        self._phase = "off"

    def enter(self, phase: str, now: Seconds) -> None:
        """Say that the site is in this phase from run time `now` on."""
        self._moment.at, self._phase = now, phase
        self._signal.feed(self._power.watts(phase))

    def read(self, now: Seconds) -> Reading | None:
        """Return what an agent reads at run time `now`, which also says again what its site draws."""
        self.enter(self._phase, now)
        try:
            return self._signal.latest()
        except OutsideTrace:
            return None

    def expected(self, now: Seconds, until: Seconds) -> StepFunction:
        """Return what comes from `now` to `until` if the site stays as it is. Raises OutsideTrace."""
        self._moment.at = now
        return self._signal.going_on(until)


class _Moment:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at: Seconds = 0.0

    def now(self) -> Seconds:
        return self.at
