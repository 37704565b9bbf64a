"""A run's keys at one moment, read as records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from curtail_dist.coordination.store import Change, Entry
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import CloseRequest, Commit, Epoch, Member, Presence, Word, decode
from curtail_dist.units import Seconds

_epoch = lru_cache(maxsize=256)(Epoch.decode)
_commit = lru_cache(maxsize=256)(Commit.decode)
_presence = lru_cache(maxsize=256)(Presence.decode)
_word = lru_cache(maxsize=256)(Word.decode)
_close = lru_cache(maxsize=256)(CloseRequest.decode)


@dataclass(frozen=True, kw_only=True)
class View:
    """What one process last saw of the run. It may lag behind the store, never run ahead of it."""

    keys: Keys
    entries: Mapping[str, Entry]
    draining: bool = False
    """Whether the site's agent asks it to drain."""
    after_commit: bool = False
    """Whether that may wait until the open round ends as it was planned."""
    ending: bool = False
    """Whether the process was told to end (SIGTERM)."""
    stale_s: Seconds = 0.0
    """Real time since the store last answered."""

    @property
    def leaving(self) -> bool:
        """Whether this site is to leave the run."""
        return self.draining or self.ending

    @property
    def hurries(self) -> bool:
        """Whether it is to leave at once, by ending the open round."""
        return self.ending or (self.draining and not self.after_commit)

    @cached_property
    def epoch(self) -> Epoch | None:
        """The current epoch, None before the run is founded."""
        entry = self.entries.get(self.keys.epoch)
        return _epoch(entry.value) if entry else None

    @cached_property
    def head(self) -> Commit | None:
        """The newest commit, None before the run is founded."""
        entry = self.entries.get(self.keys.head)
        return _commit(entry.value) if entry else None

    @cached_property
    def presences(self) -> Sequence[Presence]:
        """All living sites."""
        prefix = self.keys.members
        return [_presence(entry.value) for key, entry in self.entries.items() if key.startswith(prefix)]

    @cached_property
    def present(self) -> Mapping[str, Member]:
        """The living incarnation of each site."""
        return {presence.member.site: presence.member for presence in self.presences}

    def state_servers(self, *, but: str) -> Sequence[tuple[str, int]]:
        """Host and port at which each living site gives its state and its files, without that of one."""
        return [(one.host, one.state_port) for site, one in sorted(self.present.items()) if site != but]

    def word(self, key: str, member: Member, epoch: int) -> Word | None:
        """Return what this incarnation said of this epoch under its `suspect` or `affirm` key."""
        entry = self.entries.get(key)
        word = _word(entry.value) if entry else None
        said = word is not None and (word.epoch, word.incarnation) == (epoch, member.incarnation)
        return word if said else None

    def regrouping(self, epoch: Epoch) -> bool:
        """Whether a member of this epoch missed another: the epoch is then over."""
        return any(
            self.word(self.keys.suspect(member.site), member, epoch.number) for member in epoch.members
        )

    def close_asked(self, epoch: int, round: int) -> bool:
        """Whether somebody asks for the end of this round."""
        asked = (
            _close(entry.value) for key, entry in self.entries.items() if key.startswith(self.keys.closes)
        )
        return any((one.epoch, one.round) == (epoch, round) for one in asked)

    def durable(self, commit: Commit) -> bool:
        """Whether somebody says that the snapshot of this version is durable."""
        entry = self.entries.get(self.keys.holder(commit.version))
        return entry is not None and decode(entry.value)["hash"] == commit.hash


def applied(entries: Mapping[str, Entry], changes: Sequence[Change]) -> dict[str, Entry]:
    """Return a mirror's entries after `changes`, of which those older than what is known are passed over."""
    following = dict(entries)
    for change in changes:
        known = following.get(change.key)
        if known is not None and known.revision > change.revision:
            continue
        if change.entry is None:
            following.pop(change.key, None)
        else:
            following[change.key] = change.entry
    return following
