"""The board: what a run's keys hold, kept current by one watching thread and read without a call."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from curtail_dist.coordination.store import Change, CoordinationStore, Entry, Watch
from curtail_dist.errors import CoordinationError, StoreUnavailable
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice
from curtail_dist.membership.view import View, applied
from curtail_dist.units import Seconds

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_POLL_S = 0.25
_RETRY_S = 0.2


class Board:
    """Mirrors all keys of a run. Owns a watch and a thread between `start` and `close`.

    What it shows may lag behind the store, never run ahead of it. When the store cannot be reached it keeps
    what it last saw.
    """

    def __init__(
        self, store: CoordinationStore, keys: Keys, *, site: str = "", ending: threading.Event | None = None
    ) -> None:
        """Mirror the run of `keys`, as `site` sees it; `ending` is set when the process is told to end."""
        self._store = store
        self.keys = keys
        self._drain = keys.drain(site)
        self._entries: dict[str, Entry] = {}
        self._changes = 0
        self._changed = threading.Condition()
        self._view: tuple[int, bool, View] | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._ending = ending or threading.Event()
        self.failure: CoordinationError | None = None
        """Why the board has stopped following the store, if it has."""

    def start(self) -> None:
        """Read all keys and begin to follow them. Raises StoreUnavailable."""
        watch = self._list()
        self._thread = threading.Thread(target=self._follow, args=(watch,), name="board", daemon=True)
        self._thread.start()

    def view(self) -> View:
        """Return the run's keys as last seen."""
        with self._changed:
            ending = self._ending.is_set()
            if self._view is None or self._view[:2] != (self._changes, ending):
                asked = self._entries.get(self._drain)
                view = View(
                    keys=self.keys,
                    entries=self._entries,
                    draining=asked is not None,
                    after_commit=asked is not None and Notice.decode(asked.value).after_commit,
                    ending=ending,
                )
                self._view = (self._changes, ending, view)
            return self._view[2]

    def wait(self, check: Callable[[View], T | None], *, timeout: Seconds) -> T | None:
        """Return the first non-None result of `check`, tried at each change and `wake`; None after `timeout`.

        It is tried from time to time also without a change.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                before = self._changes
            result = check(self.view())
            left = deadline - time.monotonic()
            if result is not None or left <= 0:
                return result
            with self._changed:
                self._changed.wait_for(lambda seen=before: self._changes != seen, min(left, _POLL_S))

    def wake(self) -> None:
        """Have everyone who waits look again."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def note(self, entry: Entry) -> None:
        """Enter what this process itself just read or wrote, so that it need not wait to see it.

        Not for keys that may be deleted: an old value could come back.
        """
        self._apply([Change(key=entry.key, entry=entry, revision=entry.revision)])

    def close(self) -> None:
        """Stop following; idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    def _list(self) -> Watch:
        listing = self._store.list(self.keys.root)
        with self._changed:
            self._entries = {entry.key: entry for entry in listing.entries}
            self._changes += 1
            self._changed.notify_all()
        return self._store.watch(self.keys.root, revision=listing.revision + 1)

    def _follow(self, watch: Watch | None) -> None:
        try:
            while watch is not None and not self._closing.is_set():
                try:
                    self._apply(watch.next(_POLL_S))
                except StoreUnavailable as error:
                    _LOG.warning("the store does not answer; keeping what was last seen: %s", error)
                    watch.close()
                    watch = self._relist()
            if watch is not None:
                watch.close()
        except CoordinationError as error:
            self.failure = error
            self.wake()

    def _relist(self) -> Watch | None:
        while not self._closing.wait(_RETRY_S):
            try:
                return self._list()
            except StoreUnavailable:
                continue
        return None

    def _apply(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        with self._changed:
            self._entries = applied(self._entries, changes)
            self._changes += 1
            self._changed.notify_all()
