"""Where one process stands in the run, as its protocol knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from curtail_dist.errors import Expelled
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the protocol goes by, from the run file. Durations are real seconds."""

    total_rows: int
    identity: Mapping[str, str]
    """Named hashes of what must be the same at every site."""
    round_steps: int
    """H, inner steps of the fastest site between two exchanges of a fragment."""
    ttl_s: Seconds
    """Asked time to live of the lease."""
    grace_s: Seconds
    """In which a living member must answer."""
    patience_s: Seconds
    """After which one operation of an exchange counts as failed, lease or no lease."""
    outage_s: Seconds
    """For which a process goes on without the store."""
    durable_before_commit: bool = True
    unreachable: str = "refuse"
    """What to do about a snapshot that is durable, but not to be found here: `refuse`, `wait` or `rewind`."""
    park_s: Seconds = 0.0
    """How long a drained process waits in memory to be asked back."""
    fragments: int = 1
    """F, into how many parts the model is divided; one is exchanged at a time."""
    delay: int = 0
    """tau, inner steps that a site does while an exchange is under way."""

    @property
    def period(self) -> int:
        """Inner steps of the fastest site between two commits."""
        return self.round_steps // self.fragments


@dataclass(kw_only=True)
class Part:
    """One process's part in the run. Changed by its own protocol alone, which runs in one place at a time."""

    me: Member
    keys: Keys
    rules: Rules
    seat: Epoch | None = None
    """The epoch it is seated in."""
    stands_on: Commit | None = None
    """The commit whose state it holds."""
    planned: Sequence[str] = ()
    """Sites for which the next round is planned, as of the last exchange: the same at all who train it."""
    keeping: Sequence[str] = ()
    """Sites whose pending work and rows ahead, as head has them, still stand: the same at all."""
    since: int = 0
    """Version at which the local parameters were last set to the anchor as a whole."""
    left: bool = False
    """Whether it has left in order, or was asked to before it came in."""
    shown: Presence = field(init=False)
    """What its leased key is to say. The presence's protocol writes it."""
    closed: bool = False
    """Whether the presence is to be withdrawn."""
    misses: int = 0
    """Regroupings since the last commit."""

    def __post_init__(self) -> None:
        self.shown = Presence(member=self.me)

    @property
    def epoch(self) -> Epoch:
        """The epoch this process is seated in. Raises Expelled if it has no seat."""
        if self.seat is None:
            raise Expelled(f"site {self.me.site} has no seat in an epoch; it must enter the run first")
        return self.seat

    @property
    def head(self) -> Commit:
        """The commit this process stands on. Raises Expelled before it entered."""
        if self.stands_on is None:
            raise Expelled(f"site {self.me.site} stands on no version; it must enter the run first")
        return self.stands_on

    @property
    def rank(self) -> int:
        """Place among the members."""
        return self.epoch.members.index(self.me)
