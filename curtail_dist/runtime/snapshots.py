"""Keeps the run resumable: writes snapshots beside training, and says which are durable."""

import logging
import queue
import threading
import time

from curtail_dist.coordination.store import CoordinationStore, Entry
from curtail_dist.errors import CoordinationError
from curtail_dist.membership.board import Board
from curtail_dist.membership.records import Commit, encode
from curtail_dist.state import snapshot
from curtail_dist.state.snapshot import Snapshot
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Snapshot as SnapshotWritten
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


class SnapshotKeeper:
    """Writes versions below the run's snapshot URL. Owns one writing thread between `start` and `close`."""

    def __init__(
        self, url: str, *, keep: int, store: CoordinationStore, board: Board, events: EventLog
    ) -> None:
        """Keep the snapshots of the newest `keep` versions below `url`."""
        self._url = url
        self._keep = keep
        self._store = store
        self._board = board
        self._events = events
        self._queue: queue.Queue[tuple[Version, Commit] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._writing = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Start the writing thread."""
        self._thread.start()

    def write_soon(self, version: Version, record: Commit) -> None:
        """Write in the background; waits while the one before is still being written."""
        self._queue.put((version, record))

    def make_durable(self, version: Version, record: Commit) -> None:
        """Return when the snapshot of this version is durable, written here if nobody has.

        Raises OSError when the disk fails, StoreUnavailable when its holder key could not be written.
        """
        with self._writing:
            if not self._board.view().durable(record):
                self._write(version, record)

    def secure(self, version: Version, record: Commit) -> None:
        """Write a snapshot without a word to the store, which is away. Raises OSError."""
        with self._writing:
            snapshot.write(self._url, version, record)

    def load(self, number: int, hash: str) -> Snapshot:
        """Read the snapshot of a version. Raises SnapshotMissing, SnapshotCorrupt."""
        return snapshot.read(self._url, number, hash)

    def is_readable(self, record: Commit) -> bool:
        """Return whether the snapshot of a version is to be seen from this site."""
        return snapshot.readable(self._url, record.version, record.hash)

    def close(self) -> None:
        """Finish what is queued and stop the thread; idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join(timeout=60.0)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.make_durable(*item)
            except (OSError, CoordinationError) as error:
                _LOG.warning(
                    "snapshot %d was not written: %s; the next commit tries again", item[0].number, error
                )

    def _write(self, version: Version, record: Commit) -> None:
        began = time.monotonic()
        snapshot.write(self._url, version, record)
        holder = encode({"hash": record.hash, "path": self._url})
        key = self._board.keys.holder(version.number)
        revision = self._store.put(key, holder)
        self._board.note(Entry(key=key, value=holder, revision=revision))
        self._forget(record)
        self._events.emit(
            SnapshotWritten(
                version=version.number,
                hash=record.hash,
                size_bytes=version.size_bytes,
                wall_s=time.monotonic() - began,
            )
        )

    def _forget(self, record: Commit) -> None:
        """Let go of versions that fell out of retention: their word first, then their files."""
        head = self._board.view().head
        committed = min(record.version, head.version) if head is not None else 0
        holders = self._board.keys.holders
        for key in self._board.view().entries:
            if key.startswith(holders) and int(key.removeprefix(holders)) <= committed - self._keep:
                self._store.delete(key)
        snapshot.prune(self._url, committed=committed, keep=self._keep)
