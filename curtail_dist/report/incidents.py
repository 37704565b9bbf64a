"""What came from outside of the policy: the operator's orders, and parts that failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An order that was given, or a trouble."""

    t: Seconds
    site: str
    text: str
    lasted_s: Seconds | None
    """Run time until it was over; None: nobody recorded an end."""


def incidents_of(own: Sequence[Record]) -> tuple[Incident, ...]:
    """Return the orders and troubles among one site's records, in order."""
    told = [record for record in own if record.event in ("ordered", "trouble", "trouble_over")]
    return tuple(
        _order(record, told[index + 1 :])
        if record.event == "ordered"
        else _trouble(record, told[index + 1 :])
        for index, record in enumerate(told)
        if record.event == "trouble" or (record.event == "ordered" and record["order"] != "release")
    )


def _order(record: Record, later: Sequence[Record]) -> Incident:
    """An order is over when there is another one, or none any more."""
    until = "" if record.fields.get("until") is None else f", until {record['until']}"
    reason = f": {record['reason']}" if record["reason"] else ""
    return Incident(
        t=record.t,
        site=record.site,
        text=f"{record['by'] or 'the operator'} ordered {record['order']}{until}{reason}",
        lasted_s=next((other.t - record.t for other in later if other.event == "ordered"), None),
    )


def _trouble(record: Record, later: Sequence[Record]) -> Incident:
    over = (
        other.t - record.t
        for other in later
        if other.event == "trouble_over"
        and (other.process, other["part"]) == (record.process, record["part"])
    )
    return Incident(
        t=record.t,
        site=record.site,
        text=f"{record['part']} failed: {record['reason']}",
        lasted_s=next(over, None),
    )
