"""The state a process holds, S, and what becomes of it at a round's end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from curtail_dist.clock.base import Timepiece
from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import holds, normalize
from curtail_dist.membership.effects import (
    Done,
    Encode,
    GatherPayloads,
    Held,
    Load,
    MakeDurable,
    Pull,
    Secure,
    SnapshotSoon,
    StepCopy,
    Swap,
    TakeKept,
)
from curtail_dist.membership.records import Commit, Trained, Work
from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.outer.rules import Share
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.prefetch import Found, Prefetch
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.security.wire import Wire
from curtail_dist.state.open_work import drop_open, keep_open, take_open
from curtail_dist.state.transfer import Kept, pull
from curtail_dist.state.version import Version

_NOTHING = torch.empty(0, dtype=torch.uint8, device="cpu")
_GROWTH = 8
"""How many times the size of this process's own state a version may have: an outer optimizer of torch's makes
its buffers at its first step."""
_MARGIN_BYTES = 2**20


@dataclass(kw_only=True)
class Holding:
    """S, the copy that may become S, and the open round's payload. Used by the process's main loop alone.

    Other threads may read S by `served`.
    """

    config: RunConfig
    site: str
    outer: DiLoCo
    snapshots: SnapshotKeeper
    clock: Timepiece
    inner: InnerState
    wire: Wire
    """How other sites are connected to."""
    progress: Callable[[], None]
    """Called while something long goes on."""
    prefetch: Prefetch | None = None
    """What may have the first version that is asked for; its owner's to close. None once S is the run's."""
    payload: torch.Tensor = field(default_factory=lambda: _NOTHING)
    """The open round's pseudo-gradient, encoded once; empty before."""
    _mean: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    """Mean pseudo-gradient of the last exchange."""
    flying: Callable[[], Work | None] = lambda: None
    """What was trained while the open round's exchange was under way; it is in the local parameters."""
    entered: bool = False
    """Whether S is the run's: before that nobody may have it from here."""
    _copy: Anchor | None = None
    _base: int = -1
    """The version that the last payload stands on."""
    _counting: Sequence[int] = ()
    """Fragments of the last payload in which it has weight."""
    resets: int = 0
    """How often all local parameters were set to S: what was trained before is not in them any more."""
    _spoiled: bool = False
    """Whether what was thrown away had numbers that are not finite."""
    _finite: bool = True
    """Whether the open round's payload has only finite numbers."""
    _chunks: Kept = field(default_factory=Kept)
    """Of the version that is being pulled: a pull that broke off goes on from there."""

    @property
    def served(self) -> Version | None:
        """S, if others may pull it."""
        return self.outer.state if self.entered else None

    def held(self, _: Held) -> str:
        """Return the hash of S."""
        return self.outer.state.hash

    def encode(self, effect: Encode) -> bool:
        """Encode the pseudo-gradient of some fragments; return whether it is finite."""
        self.payload = self.outer.encode(effect.which)
        self._base, self._counting = self.outer.version, effect.which
        self._finite = self.outer.is_finite(effect.which, self.payload)
        return self._finite

    def exchange(self, effect: GatherPayloads, group: Exchange) -> None:
        """Exchange the payload with those of the other members. Raises PeerLost."""
        shares = _by_rank(effect.shares)
        mine = zip(effect.which, shares[group.rank], strict=True)
        self._counting = [fragment for fragment, share in mine if share.tokens]
        self._mean = self.outer.exchanged(group, effect.which, self.payload, shares)

    def step_copy(self, effect: StepCopy) -> str:
        """Take the outer step on a copy; return its hash."""
        before = _by_rank([effect.before])[0]
        self._copy = self.outer.stepped(self._mean, _by_rank(effect.shares), before=before)
        self._mean = {}
        return self._copy.version.hash

    def swap(self, effect: Swap) -> None:
        """The copy becomes S."""
        assert self._copy is not None, "the protocol swaps after it stepped a copy"
        assert self._copy.version.hash == effect.record.hash, "the record names the copy"
        self._settle(effect.record, moved=effect.record.synced)
        self.outer.swap(self._copy, effect.record.synced)
        self._copy, self.payload = None, _NOTHING

    def reset(self) -> None:
        """Throw away what was trained and is not in S."""
        # A commit of others may have set the parameters to finite ones by now: the state would spoil them.
        self._spoiled |= not self._finite or not self.inner.is_finite()
        self._finite = True
        self.payload = _NOTHING
        self.resets += 1
        self.outer.settle(())
        self.outer.reset()

    def take_spoiled(self) -> bool:
        """Return, once, whether what was thrown away had numbers that are not finite.

        The inner optimizer's state, which has them too, is to be forgotten then, at all ranks of the site.
        """
        spoiled, self._spoiled = self._spoiled, False
        return spoiled

    def _settle(self, record: Commit, moved: Sequence[int] = ()) -> None:
        """The payload is in this commit if that stands on the same version and lists this site.

        So is the mean that was last exchanged, of the fragments that it `moved`: where it is another site's
        commit, nobody here knows of which exchange.
        """
        listed = self.site in [work.site for work in record.work] and record.version == self._base + 1
        self.outer.settle(self._counting if listed else (), moved)

    def _adopt(self, version: Version, record: Commit, keep: Sequence[int] | None) -> None:
        self._settle(record)
        self.payload = _NOTHING
        self.resets += keep is None
        self.outer.adopt(version, keep)
        self._chunks.clear()
        if self.prefetch is not None:
            self.prefetch.stop()
            self.prefetch = None

    def _fetched(self, number: int, hash: str) -> Found | None:
        """Return a version that was got ahead of the asking, and its record."""
        return self.prefetch.take(number, hash, progress=self.progress) if self.prefetch is not None else None

    def pull(self, effect: Pull) -> None:
        """Get a version from a member, if it is not here already. Raises PeerLost.

        What came before a failure is kept for the next call that asks for the same version.
        """
        commit = effect.commit
        fetched = self._fetched(commit.version, commit.hash)
        if fetched is not None:
            self._adopt(*fetched, effect.keep)
            return
        self._chunks.most_bytes = _GROWTH * self.outer.state.size_bytes + _MARGIN_BYTES
        version = pull(
            [(member.host, member.state_port) for member in effect.members],
            run=self.config.run.name,
            wire=self.wire,
            number=commit.version,
            hash=commit.hash,
            timeout=self.config.state.transfer_timeout_s,
            progress=self.progress,
            kept=self._chunks,
        )
        self._adopt(version, commit, effect.keep)

    def load(self, effect: Load) -> Commit:
        """Read a snapshot, if its version is not here already. Raises SnapshotMissing, SnapshotCorrupt."""
        fetched = self._fetched(effect.version, effect.hash)
        if fetched is None:
            snapshot = self.snapshots.load(effect.version, effect.hash)
            fetched = snapshot.version, snapshot.commit
        self._adopt(*fetched, effect.keep)
        return fetched[1]

    def make_durable(self, effect: MakeDurable) -> None:
        """Return when a snapshot is durable. Raises OSError, StoreUnavailable."""
        version = self._copy.version if effect.copy and self._copy is not None else self.outer.state
        self.snapshots.make_durable(version, effect.record)

    def snapshot_soon(self, effect: SnapshotSoon) -> None:
        """Write S in the background."""
        self.snapshots.write_soon(self.outer.state, effect.record)

    def secure(self, effect: Secure) -> None:
        """Keep S and the open round on this site's disk."""
        self.inner.keep(at=self.clock.now())
        work = joined(effect.done.work, self.flying())
        if work.steps or effect.since < effect.head.version:
            described = {**asdict(work), "seconds": effect.done.seconds, "since": effect.since}
            keep_open(self._open_path, self.outer.local_state(), base_hash=effect.head.hash, work=described)
        # Last: the place of snapshots may be out of reach together with the store.
        self.snapshots.secure(self.outer.state, effect.head)

    def take_kept(self, effect: TakeKept) -> tuple[Done, int] | None:
        """Take up the round kept on disk if it stands on this version; delete one that does not."""
        found = take_open(self._open_path)
        if found is None or found[1] != effect.head.hash:
            drop_open(self._open_path)
            return None
        local, _, described = found
        self.outer.restore(local)
        work = Work.parse(described)
        ahead = tuple((position, position + 1) for position, _ in work.open)
        return Done(work=work, seconds=described["seconds"], ahead=ahead), described["since"]

    @property
    def _open_path(self) -> Path:
        return self.config.run.directory / "open" / f"{self.site}.safetensors"


def _by_rank(shares: Sequence[Sequence[Trained]]) -> list[list[Share]]:
    return [[Share(tokens=tokens, steps=steps) for tokens, steps in each] for each in shares]


def joined(work: Work, more: Work | None) -> Work:
    """Return two pieces of work of one site, one after the other, as one."""
    if more is None:
        return work
    rows = normalize([*work.rows, *more.rows])
    begun = {**dict(work.open), **dict(more.open)}
    return Work(
        site=work.site,
        tokens=work.tokens + more.tokens,
        steps=work.steps + more.steps,
        rows=rows,
        open=tuple(
            (position, tokens) for position, tokens in sorted(begun.items()) if not holds(rows, position)
        ),
    )
