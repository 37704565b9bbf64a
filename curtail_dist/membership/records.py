"""What members write for each other: epoch, commit, member and card, as JSON with a schema version."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self, TypeAlias, cast

from curtail_dist.data.ledger import Ledger, Offset, Range
from curtail_dist.errors import MembershipError

SCHEMA = 3
"""Version of the protocol; members of another one are refused."""

Trained: TypeAlias = tuple[int, int]
"""(tokens, inner steps)."""


def encode(fields: dict[str, Any]) -> bytes:
    """Return canonical JSON with the schema: equal records have equal bytes."""
    return json.dumps({"schema": SCHEMA, **fields}, sort_keys=True, separators=(",", ":")).encode()


def decode(value: bytes) -> dict[str, Any]:
    """Read a record. Raises MembershipError for another schema or for what is no record."""
    try:
        raw = json.loads(value)
    except ValueError as error:
        raise MembershipError(
            f"a record is not JSON: {value[:40]!r}; the store was written by something else"
        ) from error
    if not isinstance(raw, dict) or cast("dict[str, Any]", raw).get("schema") != SCHEMA:
        raise MembershipError(f"a record has another schema than {SCHEMA}; run the same version at all sites")
    record = cast("dict[str, Any]", raw)
    del record["schema"]
    return record


def _offsets(raw: Any) -> tuple[Offset, ...]:
    return tuple((int(position), int(tokens)) for position, tokens in raw)


def _ranges(raw: Any) -> tuple[Range, ...]:
    return tuple((int(first), int(last)) for first, last in raw)


@dataclass(frozen=True, kw_only=True, order=True)
class Member:
    """One site's process as others know it."""

    site: str
    incarnation: str
    """Drawn anew by each process; a restarted site is another member."""
    host: str = field(compare=False)
    group_port: int = field(compare=False)
    """Where groups meet in which this member comes first."""
    state_port: int = field(compare=False)
    """Where joiners pull the state."""

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """Build from decoded JSON."""
        return cls(**{key: raw[key] for key in ("site", "incarnation", "host", "group_port", "state_port")})


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A living site's leased key: who it is, and which version it holds if it waits to enter."""

    member: Member
    ready: str = ""
    """Hash of the head version it holds while it asks to enter; empty otherwise."""
    parked: bool = False
    """Whether its ranks wait in memory, without a part in the run, to be asked back."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        return cls(member=Member.parse(raw["member"]), ready=raw["ready"], parked=raw["parked"])


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Who takes part, in rank order (by name). Changing it is a compare-and-swap on its key."""

    number: int
    members: tuple[Member, ...]
    reason: str
    """`founded`, `resumed`, `rewound`, `joined`, `left` or `lost`; `recovered` of one without members."""

    @property
    def sites(self) -> list[str]:
        """Names in rank order."""
        return [member.site for member in self.members]

    def rank_of(self, member: Member) -> int | None:
        """Return this very incarnation's rank, or None if the epoch does not list it."""
        return self.members.index(member) if member in self.members else None

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        members = tuple(Member.parse(member) for member in raw["members"])
        return cls(number=raw["number"], members=members, reason=raw["reason"])


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one site did in one round."""

    site: str
    tokens: int
    steps: int
    rows: tuple[Range, ...]
    """Positions whose last token was trained on in this round."""
    open: tuple[Offset, ...] = ()
    """Rows begun and not finished: how many of their tokens the chain has after this round."""

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """Build from decoded JSON."""
        return cls(
            site=raw["site"],
            tokens=raw["tokens"],
            steps=raw["steps"],
            rows=_ranges(raw["rows"]),
            open=_offsets(raw["open"]),
        )


@dataclass(frozen=True, kw_only=True)
class Pending:
    """Work that a commit recorded and that is not in every fragment yet."""

    version: int
    """Of that commit."""
    work: Work

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """Build from decoded JSON."""
        return cls(version=raw["version"], work=Work.parse(raw["work"]))


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The record of a version. The newest one, at the key `head`, is the truth about the run."""

    version: int
    hash: str
    """Of S(version)."""
    parent: str
    """Hash of S(version - 1)."""
    epoch: int
    total_rows: int
    done: tuple[Range, ...] = ()
    open: tuple[Offset, ...] = ()
    """Rows begun and not finished, by position: (position, tokens of it that the chain has)."""
    tokens: int = 0
    steps: int = 0
    work: tuple[Work, ...] = ()
    """Of this version's contributors."""
    joiners: tuple[str, ...] = ()
    """Members that contributed nothing because they came to this round."""
    sites: tuple[str, ...] = ()
    """Members that go on from here: the next round is planned for them, whatever becomes of them."""
    speeds: dict[str, float] = field(default_factory=dict[str, float])
    """Inner steps per second of run time, by site, as last measured."""
    synced: tuple[int, ...] = ()
    """Fragments that this version moved."""
    pending: tuple[Pending, ...] = ()
    """Work that is not in every fragment yet. Its rows are done when it is; they return to the pool when its
    site is lost before."""
    ahead: dict[str, tuple[Range, ...]] = field(default_factory=dict[str, tuple[Range, ...]])
    """Rows that stay with a site, which has begun them or takes them while the exchange is under way."""
    flush: bool = False
    """Whether the next version moves all fragments, since a site leaves or no row is left."""
    returned: tuple[tuple[int, str], ...] = ()
    """(version, site) of work that was pending and is lost with its site; its rows are in the pool again."""

    @property
    def ledger(self) -> Ledger:
        """Which rows are done after this version."""
        return Ledger(total=self.total_rows, done=self.done, open=self.open)

    @property
    def complete(self) -> bool:
        """Whether every row is done."""
        return self.ledger.complete

    def encode(self) -> bytes:
        """Return the stored value; `complete` stands in it for readers without a ledger."""
        return encode({**asdict(self), "complete": self.complete})

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        del raw["complete"]
        raw["done"] = _ranges(raw["done"])
        raw["open"] = _offsets(raw["open"])
        raw["work"] = tuple(Work.parse(work) for work in raw["work"])
        raw["joiners"] = tuple(raw["joiners"])
        raw["sites"] = tuple(raw["sites"])
        raw["synced"] = tuple(raw["synced"])
        raw["pending"] = tuple(Pending.parse(one) for one in raw["pending"])
        raw["ahead"] = {site: _ranges(rows) for site, rows in raw["ahead"].items()}
        raw["returned"] = tuple((int(version), str(site)) for version, site in raw["returned"])
        return cls(**raw)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a member tells the others at the end of a round, before anything is exchanged."""

    epoch: int
    version: int
    """Version its local parameters started from."""
    base: str
    """Hash of that version: after a rewind two states can have the same number."""
    work: Work
    seconds: float
    """Run time its inner steps took."""
    finite: bool
    """Whether its pseudo-gradient has only finite numbers."""
    draining: bool
    """Whether it leaves after this round."""
    ready: tuple[Member, ...]
    """Joiners it sees that hold the head version."""
    since: int = 0
    """The version at which its local parameters were last set to the anchor as a whole: what it trained
    before is not in them."""
    ahead: tuple[Range, ...] = ()
    """Rows of its assignment that stay with it into the next round."""

    def encode(self) -> bytes:
        """Return the message."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a message."""
        raw = decode(value)
        raw["work"] = Work.parse(raw["work"])
        raw["ready"] = tuple(Member.parse(member) for member in raw["ready"])
        raw["ahead"] = _ranges(raw["ahead"])
        return cls(**raw)


@dataclass(frozen=True, kw_only=True)
class Word:
    """What one member says of an epoch that failed: that it suspects the others, or that it lives.

    A survivor writes it under its `suspect` key, a suspected member's membership thread under its `affirm`
    key. Each site has one key of either kind, written over in the next epoch, so their number is bounded.
    """

    epoch: int
    incarnation: str
    reaches: tuple[str, ...] | None = None
    """Sites whose processes it could connect to just now; None where it has not tried."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        if raw["reaches"] is not None:
            raw["reaches"] = tuple(raw["reaches"])
        return cls(**raw)


@dataclass(frozen=True, kw_only=True)
class CloseRequest:
    """A site's request that a round end after the inner step its members are in."""

    epoch: int
    round: int
    """The version that the round is to commit."""
    reason: str
    """`drain`, `joiner` or `regroup`."""

    def encode(self) -> bytes:
        """Return the stored value."""
        return encode(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        return cls(**decode(value))
