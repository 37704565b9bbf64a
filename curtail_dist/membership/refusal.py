"""What a site's ranks tell its agent through the store: why they end over what the user gave."""

from dataclasses import asdict, dataclass
from typing import Self

from curtail_dist.membership.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Stands in the site's `refused` key until an agent of the site is started again."""

    reason: str
    """One line: what is, what must be, what to do."""
    start: str
    """Which start it was: what the agent gave those ranks as `DECIDED_AT`."""
    final: bool
    """Whether no other start by the same run file can go better."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        return cls(**decode(value))
