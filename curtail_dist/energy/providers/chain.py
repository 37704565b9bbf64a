"""A provider, and others to go by while it is not to be had."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from curtail_dist.config.signals import Basis
from curtail_dist.energy.freshness import FORESEEN_S
from curtail_dist.energy.providers.live import LiveSignal
from curtail_dist.energy.signals import Reading, Signal
from curtail_dist.errors import SignalUnavailable
from curtail_dist.units import GramsCO2PerKWh, Seconds

T = TypeVar("T")


class Chain:
    """Signals in order of preference. The first that answers counts; owns them until `close`.

    Where none answers, what was foreseen less than an hour ago stands in, marked as such.
    """

    def __init__(self, signals: Sequence[Signal]) -> None:
        """Prefer the first."""
        self._signals = signals

    @property
    def source(self) -> str:
        """The first one's, and what it falls back on; each reading says which one gave it."""
        return ", else ".join(signal.source for signal in self._signals)

    @property
    def synthetic(self) -> bool:
        """Whether one of them was made up."""
        return any(signal.synthetic for signal in self._signals)

    @property
    def basis(self) -> Basis:
        """That of the first that answers, whose outlook counts; of the first where none does."""
        try:
            return self._first(lambda signal: signal.latest()).basis
        except SignalUnavailable:
            return self._signals[0].basis

    def latest(self) -> Reading:
        """Return the first answer there is, else what was foreseen. See Signal."""
        try:
            return self._first(lambda signal: signal.latest())
        except SignalUnavailable as error:
            for signal in self._signals:
                try:
                    return _foreseen(signal)
                except SignalUnavailable:
                    continue
            raise error from None

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return the first forecast there is. See Signal."""
        return self._first(lambda signal: signal.forecast(horizon))

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return the first outlook there is. See Signal."""
        return self._first(lambda signal: signal.outlook(until))

    def close(self) -> None:
        """Close all of them."""
        for signal in self._signals:
            signal.close()

    def _first(self, call: Callable[[Signal], T]) -> T:
        reasons: list[str] = []
        for signal in self._signals:
            try:
                return call(signal)
            except SignalUnavailable as error:
                reasons.append(str(error))
        raise SignalUnavailable("; ".join(reasons))


def _foreseen(signal: Signal) -> Reading:
    if not isinstance(signal, LiveSignal):
        raise SignalUnavailable(f"{signal.source} foresees nothing")
    return signal.foreseen(FORESEEN_S)
