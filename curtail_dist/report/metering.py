"""What a site's records say of its energy: what its meter measured, and what its power model covers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curtail_dist.config.meter import FootprintConfig
from curtail_dist.energy.emissions import DRAWN, Grid, Interval, PowerModel, drawn
from curtail_dist.energy.meters.spans import Span, merge
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import DataError
from curtail_dist.telemetry.record import Record

if TYPE_CHECKING:
    from curtail_dist.units import GramsCO2PerKWh, Seconds


@dataclass(frozen=True, kw_only=True)
class Metered:
    """How a site's energy is known. A record that says nothing of it leaves all of it to the power model."""

    spans: tuple[Span, ...] = ()
    """What the meter measured, without PUE, in order and apart; the power model counts elsewhere."""
    source: str = ""
    """The newest meter that the site opened; empty: none."""
    covers: str = ""
    """What that meter covers, and without one what the stated watts do; empty where nobody said."""
    average: StepFunction | None = None
    """The grid's average (location-based) intensity over run time; None: unknown."""
    footprint: FootprintConfig = field(default_factory=FootprintConfig)

    @property
    def measures(self) -> bool:
        """Whether anything was measured: not where all that its meter told is stated in the run file."""
        return any(span.joules > span.stated for span in self.spans)


def metered(plan: Record, own: Sequence[Record]) -> Metered:
    """Read the records of one site; `plan` is its agent's `site_started`.

    An agent that was started again may have measured what the one before it did, too: that counts once.
    Raises DataError for energy that cannot be.
    """
    series: dict[str, list[Span]] = {}
    for record in own:
        if record.event == "energy":
            series.setdefault(record.process, []).append(_span(record))
    opened = [record for record in own if record.event == "meter"]
    return Metered(
        spans=tuple(merge(list(series.values()))),
        source=opened[-1]["source"] if opened else "",
        covers=opened[-1]["covers"] if opened else plan.fields.get("covers", ""),
        average=_average(record for record in own if record.event == "site_started"),
        footprint=FootprintConfig(
            pue=plan.fields.get("pue", 1.0),
            embodied_kg=plan.fields.get("embodied_kg"),
            lifetime_h=plan.fields.get("lifetime_h"),
        ),
    )


def _span(record: Record) -> Span:
    try:
        return Span(
            start=record["since"],
            stop=record["until"],
            joules=record["joules"],
            stated=record.fields.get("stated_joules", 0.0),
        )
    except ValueError as error:
        raise DataError(f"{record.site} holds energy that cannot be: {error}") from error


def _average(started: Iterable[Record]) -> StepFunction | None:
    """Of several agents one after another, each one's word holds from where it begins."""
    points: list[tuple[Seconds, GramsCO2PerKWh]] = []
    for record in started:
        told = [(float(at), float(value)) for at, value in record.fields.get("average", ())]
        if told:
            points = [*(point for point in points if point[0] < told[0][0]), *told]
    return StepFunction.from_points(points) if len(points) > 1 else None


def as_drawn(grid: Grid, intervals: Sequence[Interval], spans: Sequence[Span]) -> Grid:
    """Return a grid whose site draws in each phase what it drew there on average, as far as it was metered.

    What a run is compared with draws that, too: else a meter and a model would be compared, not two runs. A
    phase that the site was never in, and a site without a meter, keep the model's watts.
    """
    if not spans:
        return grid
    found = drawn(intervals, grid.power, spans)

    def watts(phase: str) -> float:
        own = [draw for draw in found if draw.phase == phase]
        time = sum(draw.stop - draw.start for draw in own)
        return sum(draw.energy for draw in own) / time if time > 0 else grid.power.watts(phase)

    power = {f"{phase}_w": watts(phase) for phase in DRAWN}
    return Grid(intensity=grid.intensity, power=PowerModel(**power, pue=grid.power.pue))
