"""What a site's agent tells its ranks through the store: to leave the run."""

from dataclasses import asdict, dataclass
from typing import Self

from curtail_dist.membership.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A request to leave; it stands in the site's `drain` key as long as it holds."""

    reason: str
    after_commit: bool = False
    """Whether the open round is finished first as it was planned; else it ends at the next inner step."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        return cls(**decode(value))
