"""The state a process holds, S, and what becomes of it at a round's end."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from curtail_dist.clock.base import Timepiece
from curtail_dist.config import RunConfig
from curtail_dist.membership.effects import (
    Done,
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
from curtail_dist.membership.records import Commit, Work
from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state import inner
from curtail_dist.state.open_work import drop_open, keep_open, take_open
from curtail_dist.state.transfer import pull
from curtail_dist.state.version import Version

_NOTHING = torch.empty(0, dtype=torch.uint8)


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
    progress: Callable[[], None]
    """Called while something long goes on."""
    payload: torch.Tensor = field(default_factory=lambda: _NOTHING)
    """The open round's pseudo-gradient, encoded once; empty before."""
    gathered: Sequence[torch.Tensor | None] = ()
    """Payloads of the last exchange, in rank order."""
    entered: bool = False
    """Whether S is the run's: before that nobody may have it from here."""
    _copy: Anchor | None = None
    _kept: torch.Tensor | None = None

    @property
    def served(self) -> Version | None:
        """S, if others may pull it."""
        return self.outer.state if self.entered else None

    def held(self, _: Held) -> str:
        """Return the hash of S."""
        return self.outer.state.hash

    def encode(self, _: object) -> bool:
        """Encode the open round's pseudo-gradient; return whether it is finite."""
        self.payload = self.outer.encode() if self._kept is None else self._kept
        self._kept = None
        return bool(torch.isfinite(self.payload.view(torch.float32)).all())

    def step_copy(self, effect: StepCopy) -> str:
        """Take the outer step on a copy; return its hash."""
        self._copy = self.outer.stepped(self.gathered, [card.work.tokens for card in effect.cards])
        self.gathered = ()
        return self._copy.version.hash

    def swap(self, effect: Swap) -> None:
        """The copy becomes S."""
        assert self._copy is not None, "the protocol swaps after it stepped a copy"
        assert self._copy.version.hash == effect.record.hash, "the record names the copy"
        self.outer.swap(self._copy)
        self._copy, self.payload = None, _NOTHING

    def reset(self) -> None:
        """Throw the open round away."""
        self.payload = _NOTHING
        self.outer.reset()

    def _adopt(self, version: Version) -> None:
        self.payload = _NOTHING
        self.outer.adopt(version)

    def pull(self, effect: Pull) -> None:
        """Get a version from a member. Raises PeerLost."""
        version = pull(
            [(member.host, member.state_port) for member in effect.members],
            run=self.config.run.name,
            number=effect.commit.version,
            hash=effect.commit.hash,
            timeout=self.config.state.transfer_timeout_s,
            progress=self.progress,
        )
        self._adopt(version)

    def load(self, effect: Load) -> Commit:
        """Read a snapshot. Raises SnapshotMissing, SnapshotCorrupt."""
        snapshot = self.snapshots.load(effect.version, effect.hash)
        self._adopt(snapshot.version)
        return snapshot.commit

    def make_durable(self, effect: MakeDurable) -> None:
        """Return when a snapshot is durable. Raises OSError, StoreUnavailable."""
        version = self._copy.version if effect.copy and self._copy is not None else self.outer.state
        self.snapshots.make_durable(version, effect.record)

    def snapshot_soon(self, effect: SnapshotSoon) -> None:
        """Write S in the background."""
        self.snapshots.write_soon(self.outer.state, effect.record)

    def secure(self, effect: Secure) -> None:
        """Keep S and the open round on this site's disk."""
        self.keep_inner()
        work = effect.done.work
        if work.steps:
            described = {**asdict(work), "seconds": effect.done.seconds}
            payload = self.payload if self.payload.numel() else self.outer.encode()
            keep_open(self._open_path, payload, base_hash=effect.head.hash, work=described)
        # Last: the place of snapshots may be out of reach together with the store.
        self.snapshots.secure(self.outer.state, effect.head)

    def take_kept(self, effect: TakeKept) -> Done | None:
        """Return the round kept on disk if it stands on this version; delete one that does not."""
        found = take_open(self._open_path)
        if found is None or found[1] != effect.head.hash:
            drop_open(self._open_path)
            return None
        self._kept, _, described = found
        return Done(work=Work.parse(described), seconds=described["seconds"])

    def keep_inner(self) -> None:
        """Keep the inner optimizer's state on this site's disk, for a return after a short absence."""
        if self.config.state.inner_max_age_s:
            inner.save(self._inner_path, self.outer.inner, at=self.clock.now())

    def resume_inner(self) -> None:
        """Take the inner optimizer's state up again where it is fresh enough, else begin gently."""
        max_age_s = self.config.state.inner_max_age_s
        if not inner.load(self._inner_path, self.outer.inner, now=self.clock.now(), max_age_s=max_age_s):
            self.outer.begin_warmup(self.config.train.warmup_steps)

    @property
    def _inner_path(self) -> Path:
        return self.config.run.directory / "inner" / f"{self.site}.safetensors"

    @property
    def _open_path(self) -> Path:
        return self.config.run.directory / "open" / f"{self.site}.safetensors"
