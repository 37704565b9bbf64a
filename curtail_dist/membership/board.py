"""The board: what a run's keys hold, kept current by one watching thread and read without a call."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from curtail_dist.coordination.store import Change, CoordinationStore, Entry, Watch
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.units import Seconds

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_POLL_S = 0.25
_RETRY_S = 0.2


class Board:
    """Mirrors all keys of a run. Owns a watch and a thread between `start` and `close`.

    What it shows may lag behind the store, never run ahead of it. When the store cannot be reached it keeps
    what it last saw and says since when (`stale_s`).
    """

    def __init__(
        self, store: CoordinationStore, keys: Keys, *, react: Callable[[Change], None] | None = None
    ) -> None:
        """Mirror the run of `keys`; `react` is called in the watching thread for each change."""
        self._store = store
        self.keys = keys
        self._react = react
        self._entries: dict[str, Entry] = {}
        self._changed = threading.Condition()
        self._seen_at = time.monotonic()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read all keys and begin to follow them. Raises StoreUnavailable."""
        watch = self._list()
        self._thread = threading.Thread(target=self._follow, args=(watch,), name="board", daemon=True)
        self._thread.start()

    @property
    def stale_s(self) -> Seconds:
        """Real time since the store last answered."""
        return time.monotonic() - self._seen_at

    def entry(self, key: str) -> Entry | None:
        """Return a key as last seen."""
        with self._changed:
            return self._entries.get(key)

    @property
    def epoch(self) -> Epoch | None:
        """The current epoch, None before the run is founded."""
        entry = self.entry(self.keys.epoch)
        return Epoch.decode(entry.value) if entry else None

    @property
    def head(self) -> Commit | None:
        """The newest commit, None before the run is founded."""
        entry = self.entry(self.keys.head)
        return Commit.decode(entry.value) if entry else None

    @property
    def presences(self) -> list[Presence]:
        """All living sites."""
        with self._changed:
            found = [entry.value for key, entry in self._entries.items() if key.startswith(self.keys.members)]
        return [Presence.decode(value) for value in found]

    @property
    def present(self) -> dict[str, Member]:
        """The living incarnation of each site."""
        return {presence.member.site: presence.member for presence in self.presences}

    def below(self, prefix: str) -> list[str]:
        """Return the keys below a prefix."""
        with self._changed:
            return [key for key in self._entries if key.startswith(prefix)]

    def wait(self, check: Callable[[], T | None], *, timeout: Seconds) -> T | None:
        """Return the first non-None result of `check`, tried at each change; None after `timeout`."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                before = self._entries
                result = check()
                left = deadline - time.monotonic()
                if result is not None or left <= 0:
                    return result
                self._changed.wait_for(lambda seen=before: self._entries is not seen, min(left, _POLL_S))

    def note(self, key: str, value: bytes, revision: int) -> None:
        """Enter what this process itself just wrote, so that it need not wait to see it."""
        self._apply(
            [Change(key=key, entry=Entry(key=key, value=value, revision=revision), revision=revision)]
        )

    def close(self) -> None:
        """Stop following; idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    def _list(self) -> Watch:
        listing = self._store.list(self.keys.root)
        with self._changed:
            self._entries = {entry.key: entry for entry in listing.entries}
            self._seen_at = time.monotonic()
            self._changed.notify_all()
        return self._store.watch(self.keys.root, revision=listing.revision + 1)

    def _follow(self, watch: Watch) -> None:
        while not self._closing.is_set():
            try:
                changes = watch.next(_POLL_S)
                self._seen_at = time.monotonic()
            except StoreUnavailable as error:
                _LOG.warning("the store does not answer; keeping what was last seen: %s", error)
                watch.close()
                watch = self._relist() or watch
                continue
            self._apply(changes)
            self._tell(changes)
        watch.close()

    def _relist(self) -> Watch | None:
        """List again until the store answers; what was written meanwhile is reacted to as if just seen."""
        before = self._entries
        while not self._closing.wait(_RETRY_S):
            try:
                watch = self._list()
            except StoreUnavailable:
                continue
            written = [entry for key, entry in self._entries.items() if before.get(key) != entry]
            self._tell([Change(key=entry.key, entry=entry, revision=entry.revision) for entry in written])
            return watch
        return None

    def _tell(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if self._react is not None:
                self._react(change)

    def _apply(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        with self._changed:
            entries = dict(self._entries)
            for change in changes:
                known = entries.get(change.key)
                if known is not None and known.revision > change.revision:
                    continue
                if change.entry is None:
                    entries.pop(change.key, None)
                else:
                    entries[change.key] = change.entry
            self._entries = entries
            self._changed.notify_all()
