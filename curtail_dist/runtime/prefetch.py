"""Gets the run's state before it is asked for, while the script still builds and compiles its model."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import CurtailError, PeerLost, SnapshotCorrupt, SnapshotMissing, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.decisions import living
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Member
from curtail_dist.membership.view import View
from curtail_dist.security.wire import Wire
from curtail_dist.state import snapshot
from curtail_dist.state.transfer import Kept, pull
from curtail_dist.state.version import Version

_LOG = logging.getLogger(__name__)
_RETRY_S = 2.0
_MARGIN_S = 5.0
"""A peer's silence is noticed by the transfer first: it then asks the next one."""
_CLOSE_S = 2.0

Found: TypeAlias = tuple[Version, Commit]
"""A version and the record that names it."""


class _LetGoError(Exception):
    """What is under way is of no use any more. Nothing that a transfer takes for a peer's failure."""


class Prefetch:
    """Holds head's version ready for the first time that this process enters the run.

    Owns one thread, and a board that follows the run, between `start` and `close`. It writes nothing to the
    store. It holds one version at most, or what came of one. What fails is logged: whoever asks and gets
    nothing goes the ordinary way.
    """

    def __init__(self, store: CoordinationStore, config: RunConfig, *, site: str, wire: Wire) -> None:
        """Prepare for `site`; nothing is contacted before `start`. Members are connected to by `wire`."""
        self._config = config
        self._site = site
        self._wire = wire
        self._board = Board(store, Keys(config.run.name), site=site)
        self._kept = Kept()
        self._changed = threading.Condition()
        self._stopping = False
        self._awaited = False
        """Whether somebody waits for what is under way: it is then finished, whatever is committed."""
        self._aim: tuple[int, str] | None = None
        """Number and hash of what is here or under way."""
        self._found: Found | None = None
        self._signs = 0
        """Chunks that came, and other signs of life."""
        self._silence_s = 0.0
        """For how long the present source may show none."""
        self._unreadable: tuple[str, bool] | None = None
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def start(self) -> None:
        """Begin to fetch; returns at once."""
        self._thread.start()

    def take(self, number: int, hash: str, *, progress: Callable[[], None] = lambda: None) -> Found | None:
        """Hand over this very version, with its record, and end.

        One that is under way is waited for as long as it makes progress: a peer may be silent for
        `state.transfer_timeout_s`, the reading of a snapshot may last `train.stall_s`. None at once for any
        other. That is the end, too, since the caller now gets it by itself; but not where a later one is
        here or under way, for which the caller is going to ask next.

        Args:
            number: Of the version.
            hash: Of the version; what is returned has it.
            progress: Called before each stretch of waiting, which lasts one chunk.
        """
        with self._changed:
            if self._aim == (number, hash):
                self._awaited = True
                while self._found is None and self._aim is not None:
                    progress()
                    if not self._wait_for_sign():
                        _LOG.warning("site %s: what was to bring version %d is silent", self._site, number)
                        break
            elif self._aim is not None and self._aim[0] > number:
                return None
            found = self._found if self._awaited else None
        self.stop()
        return found

    def stop(self) -> None:
        """Let go of everything and have the thread end at its next chunk; returns at once, idempotent."""
        with self._changed:
            self._stopping = True
            self._aim = self._found = None
            self._changed.notify_all()
        self._board.wake()

    def close(self) -> None:
        """Stop and join the thread; idempotent.

        Bounded by about 2 s: a thread that waits for a silent peer ends later, with the peer's timeout.
        """
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=_CLOSE_S)

    def _wait_for_sign(self) -> bool:
        """Wait, with the lock, for the next sign of life or the end; return whether it came in time."""
        seen = self._signs
        return self._changed.wait_for(lambda: self._signs != seen or self._aim is None, self._silence_s)

    def _work(self) -> None:
        try:
            while not self._stopping and not self._connect():
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, _RETRY_S)
            while not self._stopping:
                self._look()
        except (CurtailError, OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
            _LOG.warning("site %s: no version is fetched ahead any more: %s", self._site, error)
        finally:
            self.stop()
            self._kept.clear()
            self._board.close()

    def _connect(self) -> bool:
        try:
            self._board.start()
        except StoreUnavailable as error:
            _LOG.info("site %s: nothing is fetched ahead yet: %s", self._site, error)
            return False
        return True

    def _look(self) -> None:
        """Get head's version if it is to be had and not here; return when there may be something to do."""
        view = self._board.view()
        try:
            self._fetch(view)
        except _LetGoError:
            self._end(None)
            return
        facts = self._facts(view)

        def moved(now: View) -> bool | None:
            return True if self._stopping or self._facts(now) != facts else None

        self._board.wait(moved, timeout=_RETRY_S)
        if self._board.failure is not None:
            raise self._board.failure

    def _facts(self, view: View) -> object:
        """What decides whether a version can be had: a try in vain is worth another when it changes."""
        return view.head, self._givers(view), view.head is not None and view.durable(view.head)

    def _givers(self, view: View) -> Sequence[Member]:
        """Return the members that live; one of this site is the process whose place this one takes."""
        members = living(view.epoch, view.present) if view.epoch is not None else []
        return [member for member in members if member.site != self._site]

    def _fetch(self, view: View) -> None:
        head, givers = view.head, self._givers(view)
        # Version 0 is what every process of the run begins with: nobody reads it from a disk.
        if head is None or not (head.version or givers) or not self._begin(head):
            return
        began = time.monotonic()
        found = self._pull(head, givers) or self._read(head, durable=view.durable(head))
        self._end(found)
        if found is not None:
            seconds = time.monotonic() - began
            _LOG.info("site %s: version %d was fetched ahead in %.1f s", self._site, head.version, seconds)

    def _begin(self, head: Commit) -> bool:
        """Aim at a version and let go of what was here; False if there is no need."""
        wanted = (head.version, head.hash)
        with self._changed:
            if self._stopping or self._awaited or self._aim == wanted:
                return False
            self._aim, self._found = wanted, None
            self._silence_s = self._config.state.transfer_timeout_s + _MARGIN_S
        self._kept.aim(*wanted)
        return True

    def _end(self, found: Found | None) -> None:
        """Have what was aimed at ready, or nothing."""
        with self._changed:
            self._found = None if self._stopping else found
            self._aim = self._aim if found is not None else None
            self._signs += 1
            self._changed.notify_all()

    def _pull(self, head: Commit, givers: Sequence[Member]) -> Found | None:
        if not givers:
            return None
        try:
            version = pull(
                [(member.host, member.state_port) for member in givers],
                run=self._config.run.name,
                wire=self._wire,
                number=head.version,
                hash=head.hash,
                timeout=self._config.state.transfer_timeout_s,
                progress=self._chunk_came,
                kept=self._kept,
            )
        except PeerLost as lost:
            _LOG.info("site %s: %s; trying the snapshot", self._site, lost)
            return None
        return version, head

    def _read(self, head: Commit, *, durable: bool) -> Found | None:
        """Read a snapshot, whatever it lacks only once: to find a torn one out takes reading all of it."""
        if self._unreadable == (head.hash, durable):
            return None
        with self._changed:
            self._silence_s = self._config.train.stall_s
            self._signs += 1
            self._changed.notify_all()
        try:
            read = snapshot.read(self._config.snapshot_url, head.version, head.hash)
        except (SnapshotMissing, SnapshotCorrupt) as error:
            _LOG.info("site %s: %s", self._site, error)
            self._unreadable = (head.hash, durable)
            return None
        self._kept.clear()
        return read.version, read.commit

    def _chunk_came(self) -> None:
        head = self._board.view().head
        with self._changed:
            self._signs += 1
            self._changed.notify_all()
            outdated = head is None or (head.version, head.hash) != self._aim
            if self._stopping or (outdated and not self._awaited):
                raise _LetGoError
