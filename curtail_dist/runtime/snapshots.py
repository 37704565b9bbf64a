"""Keeps the run resumable: writes snapshots beside training, and says which are durable."""

import logging
import threading
import time
from collections.abc import Mapping

from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import CurtailError, SnapshotCorrupt
from curtail_dist.membership.board import Board
from curtail_dist.membership.records import Commit, encode
from curtail_dist.state import snapshot
from curtail_dist.state.places import claim, newest_of
from curtail_dist.state.shelf import open_shelf
from curtail_dist.state.snapshot import Snapshot
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Snapshot as SnapshotWritten
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)
_WRITE_S = 300.0
"""Real time after which a snapshot that another thread writes counts as stuck."""
_CLOSE_S = 60.0


class SnapshotKeeper:
    """Writes versions below the run's snapshot URL. Owns one writing thread between `start` and `close`.

    One snapshot is written at a time; of those that wait only the newest is kept, since a commit that needs
    an older one makes it durable itself.
    """

    def __init__(
        self,
        url: str,
        *,
        run: str,
        keep: int,
        identity: Mapping[str, str],
        store: CoordinationStore,
        board: Board,
        events: EventLog,
    ) -> None:
        """Keep the snapshots of the newest `keep` versions of `run` below `url`.

        Raises ConfigError for an odd URL.
        """
        open_shelf(url)
        self._url = url
        self._run = run
        self._claimed = False
        self._identity = identity
        self._keep = keep
        self._store = store
        self._board = board
        self._events = events
        self._next: tuple[Version, Commit] | None = None
        self._written: tuple[int, str] | None = None
        self._told: tuple[int, str] | None = None
        self._corrupt: set[tuple[int, str]] = set()
        self._closed = False
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def write_soon(self, version: Version, record: Commit) -> None:
        """Write a committed version in the background, then let go of what the chain needs no more.

        Returns at once. A failure is logged; `make_durable` tries again.
        """
        with self._changed:
            self._next = (version, record)
            self._changed.notify_all()

    def make_durable(self, version: Version, record: Commit) -> None:
        """Return when the snapshot of this version is durable, written here if nobody has.

        Raises OSError when the disk fails, StoreUnavailable when its holder key could not be written, and
        ConfigError where the place is another run's: nothing there is touched.
        """
        if not self._writing.acquire(timeout=_WRITE_S):
            raise OSError(f"the snapshot before {record.version} has been under way for {_WRITE_S:.0f} s")
        try:
            if not self._is_durable(record):
                self._write(version, record)
        finally:
            self._writing.release()

    def secure(self, version: Version, record: Commit) -> None:
        """Write a snapshot without a word to the store, which is away. Raises OSError."""
        if not self._is_written(record):
            snapshot.write(self._url, version, record, self._identity)

    def load(self, number: int, hash: str) -> Snapshot:
        """Read the snapshot of a version. Raises SnapshotMissing, SnapshotCorrupt.

        One that is corrupt does not count as durable here any more, whatever its holder key says.
        """
        try:
            return snapshot.read(self._url, number, hash)
        except SnapshotCorrupt:
            self._corrupt.add((number, hash))
            raise

    def is_readable(self, record: Commit) -> bool:
        """Return whether the snapshot of a version is to be seen from this site; its bytes are not read."""
        try:
            return snapshot.readable(self._url, record.version, record.hash)
        except OSError as error:
            _LOG.warning("%s cannot be reached from here: %s", self._url, error)
            return False

    def newest(self) -> int:
        """Return the newest version of which a snapshot is to be seen here, 0 without any.

        Raises OSError, and ConfigError where the place is another run's.
        """
        return newest_of(self._url, self._run)

    def close(self) -> None:
        """Finish what waits and stop the thread; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout=_CLOSE_S)

    def _is_durable(self, record: Commit) -> bool:
        key = (record.version, record.hash)
        return key not in self._corrupt and (key == self._told or self._board.view().durable(record))

    def _is_written(self, record: Commit) -> bool:
        key = (record.version, record.hash)
        return key not in self._corrupt and key == self._written

    def _work(self) -> None:
        while (item := self._take()) is not None:
            version, record = item
            try:
                self.make_durable(version, record)
                self._forget(record)
            except (OSError, CurtailError) as error:
                _LOG.warning(
                    "version %d: its snapshot, or the removal of older ones, failed: %s; the next commit "
                    "tries again",
                    record.version,
                    error,
                )

    def _take(self) -> tuple[Version, Commit] | None:
        """Wait for the next to write; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closed)
            item, self._next = self._next, None
            return item

    def _write(self, version: Version, record: Commit) -> None:
        began, key = time.monotonic(), (record.version, record.hash)
        if not self._is_written(record):  # it is where the store was away when it was to be told
            self._take_place()
            snapshot.write(self._url, version, record, self._identity)
            self._written = key
            self._corrupt.discard(key)
        holder = encode({"hash": record.hash, "path": self._url})
        self._store.put(self._board.keys.holder(record.version), holder)
        self._told = key
        self._events.emit(
            SnapshotWritten(
                version=record.version,
                hash=record.hash,
                size_bytes=version.size_bytes,
                wall_s=time.monotonic() - began,
            )
        )

    def _forget(self, record: Commit) -> None:
        """Let go of versions that fell out of retention: the word for them first, then their files.

        The store is asked for head, the mirror will not do: a process that slept through a rewind holds a
        higher number than the living chain has reached, and must not take its snapshots away.
        """
        keys = self._board.keys
        entry = self._store.get(keys.head)
        if entry is None:
            return
        committed = min(record.version, Commit.decode(entry.value).version)
        for key in self._board.view().entries:
            number = key.removeprefix(keys.holders)
            if key.startswith(keys.holders) and number.isdigit() and int(number) <= committed - self._keep:
                self._store.delete(key)
        self._take_place()
        snapshot.prune(self._url, committed=committed, keep=self._keep)

    def _take_place(self) -> None:
        """Before anything is written or removed there."""
        if not self._claimed:
            claim(self._url, self._run)
            self._claimed = True
