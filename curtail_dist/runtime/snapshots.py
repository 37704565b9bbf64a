"""Keeps the run resumable: writes snapshots beside training and says in the store when one is durable."""

import logging
import queue
import threading
import time
from dataclasses import asdict
from pathlib import Path

from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import CoordinationError, StateError
from curtail_dist.membership.board import Board
from curtail_dist.membership.records import Commit, decode, encode
from curtail_dist.state import snapshot
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Snapshot as SnapshotWritten
from curtail_dist.telemetry.record import EventLog

_LOG = logging.getLogger(__name__)


class SnapshotKeeper:
    """Writes versions to the run's snapshot folder. Owns one writing thread between `start` and `close`."""

    def __init__(
        self, root: Path, *, keep: int, store: CoordinationStore, board: Board, events: EventLog
    ) -> None:
        """Keep the newest `keep` snapshots below `root`."""
        self._root = root
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

    def is_durable(self, record: Commit) -> bool:
        """Whether somebody holds the snapshot of this version."""
        entry = self._board.entry(self._board.keys.holder(record.version))
        return entry is not None and decode(entry.value)["hash"] == record.hash

    def write_soon(self, version: Version, record: Commit) -> None:
        """Write in the background; waits while the one before is still being written."""
        self._queue.put((version, record))

    def make_durable(self, version: Version, record: Commit) -> None:
        """Return when the snapshot of this version is durable, written here if nobody has. Raises OSError."""
        with self._writing:
            if not self.is_durable(record):
                self._write(version, record)

    def load(self, record: Commit) -> Version | None:
        """Read the version a commit names, or None if its snapshot is not there or corrupt."""
        path = snapshot.folder(self._root, record.version, record.hash)
        try:
            found = snapshot.read(path)
        except StateError as error:
            _LOG.warning("%s", error)
            return None
        return found.version if found.hash == record.hash else None

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
        snapshot.write(self._root, version, record.hash, asdict(record))
        holder = encode({"hash": record.hash, "path": str(self._root)})
        key = self._board.keys.holder(version.number)
        self._board.note(key, holder, self._store.put(key, holder))
        snapshot.prune(self._root, self._keep)
        forgotten = self._board.keys.holder(version.number - self._keep)
        if self._board.entry(forgotten) is not None:
            self._store.delete(forgotten)
        self._events.emit(
            SnapshotWritten(
                version=version.number,
                hash=record.hash,
                size_bytes=version.size_bytes,
                wall_s=time.monotonic() - began,
            )
        )
