"""What a site's agent tells its ranks through the store: to leave the run."""

from dataclasses import asdict, dataclass
from typing import Self

from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import CloseRequest, Commit, Epoch, decode, encode


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


def asking(
    keys: Keys, site: str, notice: Notice, *, epoch: Epoch | None, head: Commit | None
) -> dict[str, bytes]:
    """Return what to write, in one transaction, to have a site leave.

    Where it is a member the others are asked, too, to end the open round with the inner step that they are in
    now. The site's own ranks ask for that when their own step has ended: the others' would come on top of it.
    """
    puts = {keys.drain(site): notice.encode()}
    if not notice.after_commit and epoch is not None and head is not None and site in epoch.sites:
        request = CloseRequest(epoch=epoch.number, round=head.version + 1, reason="drain")
        puts[keys.close(site)] = request.encode()
    return puts
