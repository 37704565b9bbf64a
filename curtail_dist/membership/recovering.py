"""When the store has lost the run, and a snapshot has not: what is written so that sites go on from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, encode

GAP = 1000
"""How far the first epoch of a recovered run lies beyond the last one that is known of. The store that is
lost may have seen later ones, and what was said in these must not be taken for what is said now."""


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A run as it is to stand in the store once it is recovered."""

    head: Commit
    """The record of the snapshot."""
    url: str
    """Below which sites find it."""
    identity: Mapping[str, str]
    """What is trained; empty: the first site that comes says so."""
    start: datetime
    """Run time 0."""
    known_epoch: int
    """The newest epoch that anybody here knows of."""

    @property
    def epoch(self) -> Epoch:
        """An epoch without members: whoever comes first resumes the run, as after any dark."""
        newest = max(self.known_epoch, self.head.epoch)
        return Epoch(number=newest + GAP, members=(), reason="recovered")

    def puts(self, keys: Keys) -> Mapping[str, bytes]:
        """Return what is to be written, in one transaction."""
        puts = {
            keys.epoch: self.epoch.encode(),
            keys.head: self.head.encode(),
            keys.holder(self.head.version): encode({"hash": self.head.hash, "path": self.url}),
            keys.start: encode({"start": self.start.isoformat()}),
        }
        return {**puts, keys.identity: encode(dict(self.identity))} if self.identity else puts


def forgotten(newest: int) -> str:
    """Say what is wrong where the store knows nothing of a run that has come up to version `newest`."""
    return (
        f"etcd knows nothing of this run, but there are its snapshots, up to version {newest}; `curtail "
        "recover --config RUN.yaml` has it go on from there; to train from the beginning choose another "
        "run.name, or move the run directory and what state.url names away"
    )
