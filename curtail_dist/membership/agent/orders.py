"""What an operator orders, above every policy; it stands in the store until it is released or expires."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, Self

from curtail_dist.coordination.store import Entry
from curtail_dist.energy.stages import Bar
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order."""

    kind: Literal["hold", "drain", "stop"]
    """`hold`: the site does not start; one that is on stays until its policy has it leave. `drain`: it leaves
    now, and does not start again. `stop`: every site leaves, and its agent ends."""
    reason: str
    by: str
    """Who gave it."""
    given: datetime
    """When, UTC."""
    until: datetime | None = None
    """When it expires, UTC; None: when it is released."""
    after_commit: bool = False
    """With `stop`: whether sites finish the round that is open; else they end it at once."""

    @property
    def bar(self) -> Bar:
        """What it means for a site."""
        until = "" if self.until is None else f" until {self.until:%Y-%m-%d %H:%M} UTC"
        why = f": {self.reason}" if self.reason else ""
        return Bar(reason=f"{self.kind} by {self.by}{until}{why}", leaves=self.kind != "hold")

    def holds(self, now: datetime) -> bool:
        """Whether it stands at a moment (aware)."""
        return self.until is None or now < self.until

    def encode(self) -> bytes:
        """Return the stored value."""
        until = None if self.until is None else self.until.isoformat()
        return encode({**asdict(self), "given": self.given.isoformat(), "until": until})

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        until = None if raw["until"] is None else _moment(raw["until"])
        raw.update(given=_moment(raw["given"]), until=until)
        return cls(**raw)


def standing_order(keys: Keys, site: str, entries: Mapping[str, Entry], *, now: datetime) -> Order | None:
    """Return the order that a site is under, None for none: a stop of the run comes before one for it.

    Raises MembershipError for what is no order of this version.
    """
    found = (entries.get(key) for key in (keys.stop, keys.order(site)))
    orders = (Order.decode(entry.value) for entry in found if entry is not None)
    return next((order for order in orders if order.holds(now)), None)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
