"""Snapshots at one url: whole or not there, rotten after the fact, kept for some versions."""

from dataclasses import dataclass, field

from curtail_dist.errors import SnapshotCorrupt, SnapshotMissing
from curtail_dist.membership.records import Commit
from curtail_dist.sim.history import Copy, History
from curtail_dist.sim.state import State


@dataclass(kw_only=True)
class Stored:
    """One snapshot."""

    state: State
    commit: Commit
    rotten: bool = False


@dataclass(kw_only=True)
class Disk:
    """A place for snapshots that outlives every process."""

    url: str
    history: History
    stored: dict[tuple[int, str], Stored] = field(default_factory=dict[tuple[int, str], Stored])
    failing: bool = False
    """Whether writes raise OSError."""

    def put(self, who: str, state: State, commit: Commit) -> None:
        """Rename a whole snapshot into place; one that stands is never overwritten."""
        place = (commit.version, commit.hash)
        if state.hash != commit.hash:
            self.history.blame(who, f"snapshot of {commit.version} holds {state.hash}, not {commit.hash}")
        if place not in self.stored:
            self.stored[place] = Stored(state=state, commit=commit)
            self.history.add(who, "durable", Copy(self.url, *place))

    def get(self, version: int, hash: str) -> Stored:
        """Read a snapshot. Raises SnapshotMissing, SnapshotCorrupt."""
        found = self.stored.get((version, hash))
        if found is None:
            raise SnapshotMissing(f"no snapshot of version {version} at {self.url}")
        if found.rotten:
            raise SnapshotCorrupt(f"the snapshot of version {version} at {self.url} is corrupt")
        return found

    def newest(self) -> Stored | None:
        """Return the newest whole snapshot, by epoch and version."""
        whole = [one for one in self.stored.values() if not one.rotten]
        return max(whole, key=lambda one: (one.commit.epoch, one.commit.version), default=None)

    def rot(self, version: int, hash: str) -> bool:
        """Make a snapshot unreadable, if it is there."""
        found = self.stored.get((version, hash))
        if found is not None and not found.rotten:
            found.rotten = True
            self.history.add("faults", "rotten", Copy(self.url, version, hash))
            return True
        return False

    def prune(self, who: str, *, below: int) -> None:
        """Forget versions below one."""
        for place in [place for place in self.stored if place[0] < below]:
            del self.stored[place]
            self.history.add(who, "pruned", Copy(self.url, *place))
