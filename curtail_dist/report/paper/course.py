"""The courses of the runs that are compared: how each learned, drew and emitted, on the same terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curtail_dist.report.paper.learned import HeldOut, Trained, half_life, held_out, smoothed, trained
from curtail_dist.report.paper.rates import Rates, Stretch, rates, slice_s, stretches
from curtail_dist.report.whole import Whole
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Course:
    """One run over time."""

    name: str
    finished: bool
    steps: Sequence[Trained]
    smoothed: Sequence[float | None]
    """Perplexity after each of the steps."""
    held_out: Sequence[HeldOut]
    drawn: Sequence[Stretch]
    rates: Rates

    @property
    def best_perplexity(self) -> float | None:
        """The least smoothed perplexity; None where no loss was said."""
        return min((value for value in self.smoothed if value is not None), default=None)

    @property
    def best_held_out(self) -> float | None:
        """The least bits per byte on the held-out split; None where it was never evaluated."""
        return min((one.bits_per_byte for one in self.held_out), default=None)


@dataclass(frozen=True, kw_only=True)
class Courses:
    """Runs side by side, made smooth alike."""

    runs: Sequence[Course]
    """The reported run first."""
    half_life_tokens: float
    """Of the smoothed perplexity."""
    slice_s: Seconds
    """Length of the slices over which power and emissions are means."""


def follow(runs: Mapping[str, Whole]) -> Courses:
    """Return the courses of some runs, by the names that they are shown under."""
    steps = {name: trained(run.records) for name, run in runs.items()}
    life = half_life(own[-1].by_then for own in steps.values() if own)
    drawn = {name: stretches(run.history) for name, run in runs.items()}
    ends = [max([run.history.stop, *(one.stop for one in drawn[name])]) for name, run in runs.items()]
    length_s = slice_s(ends)
    return Courses(
        runs=[
            Course(
                name=name,
                finished=run.history.finished,
                steps=steps[name],
                smoothed=smoothed(steps[name], life),
                held_out=held_out(run.history, steps[name]),
                drawn=drawn[name],
                rates=rates(drawn[name], stop=run.history.stop, length_s=length_s),
            )
            for name, run in runs.items()
        ],
        half_life_tokens=life,
        slice_s=length_s,
    )
