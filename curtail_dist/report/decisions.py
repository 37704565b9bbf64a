"""Each start and drain that was decided for a site: what it rests on, and how long doing it took."""

from collections.abc import Sequence
from dataclasses import dataclass

from curtail_dist.telemetry.record import Record
from curtail_dist.units import GramsCO2PerKWh, Seconds

_STAGES = {"start": ("joining", "on"), "drain": ("draining", "off")}
"""The stage that an action puts a site in, and the one that comes next if nothing crosses it."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A site was to start, or to drain."""

    t: Seconds
    site: str
    action: str
    """`start` or `drain`."""
    by: str
    """`policy` or `operator`."""
    reason: str
    g_per_kwh: GramsCO2PerKWh | None
    """The reading that it rests on; None: there was none."""
    measured_t: Seconds | None
    """Run time from which that reading holds; None: not recorded."""
    source: str
    """Where it comes from; empty: not recorded."""
    from_forecast: bool
    """Whether an earlier forecast said it, while the source did not answer."""
    took_s: Seconds | None
    """Run time from then until the site was on, or off; None: it was not, or nobody recorded it."""
    crossed_s: Seconds | None
    """Run time after which something crossed it: a drain, a death, or a start while it drained."""


def decisions_of(own: Sequence[Record]) -> tuple[Decision, ...]:
    """Return the starts and drains among one site's records, in order."""
    told = [record for record in own if record.event in ("decided", "stage")]
    found: list[Decision] = []
    for index, record in enumerate(told):
        if record.event == "decided" and record["action"] in _STAGES:
            later = [other for other in told[index + 1 :] if other.process == record.process]
            stage = _outcome(record["action"], later)
            took = stage is not None and stage["stage"] == _STAGES[record["action"]][1]
            found.append(
                Decision(
                    t=record.t,
                    site=record.site,
                    action=record["action"],
                    by=record.fields.get("by", "policy"),
                    reason=record["reason"],
                    g_per_kwh=record["g_per_kwh"],
                    measured_t=record.fields.get("measured_t"),
                    source=record.fields.get("source", ""),
                    from_forecast=record.fields.get("from_forecast", False),
                    took_s=stage["after_s"] if stage is not None and took else None,
                    crossed_s=stage["after_s"] if stage is not None and not took else None,
                )
            )
    return tuple(found)


def _outcome(action: str, later: Sequence[Record]) -> Record | None:
    """Return the word on how the stage ended that an action began; None where its agent wrote none.

    It stands before the next word of the same action, whatever lies in between.
    """
    for record in later:
        if record.event == "decided" and record["action"] == action:
            return None
        if record.event == "stage" and record["was"] == _STAGES[action][0]:
            return record
    return None
