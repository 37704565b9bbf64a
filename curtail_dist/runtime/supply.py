"""Has the files that a site reads next on its disk before it reads them."""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Range
from curtail_dist.data.manifest import Manifest, Shard
from curtail_dist.data.obtain import Obtained, Source, Wanted, obtain
from curtail_dist.data.order import RowOrder
from curtail_dist.errors import CurtailError, DataError
from curtail_dist.membership.records import Commit
from curtail_dist.security.wire import Wire
from curtail_dist.state.sources import PeerSource, UrlSource

_LOG = logging.getLogger(__name__)
_RETRY_S = 2.0
_CLOSE_S = 5.0
_MARGIN_BYTES = 1 << 26
_FILE_LIMIT_BYTES = 1 << 30
"""Of files of which the manifest says no size."""

Address = tuple[str, int]
"""Host and port of a state server."""
Told = Callable[[str, Obtained], None]
"""Called with the name of a file that was fetched."""


class _LetGoError(Exception):
    """The thread is to end."""


class Supply:
    """The data set's files as one rank sees them: those that are here, and whence the others come.

    Owns a thread between `start` and `close` that fetches ahead what is read next. Only what is missing is
    fetched, so that a site whose files are all here asks nobody.
    """

    def __init__(
        self,
        config: RunConfig,
        manifest: Manifest,
        order: RowOrder,
        *,
        site: str,
        wire: Wire,
        givers: Callable[[], Sequence[Address]],
        told: Told,
    ) -> None:
        """Prepare for `site`.

        `givers` are the state servers that may have a file, asked anew each time, by `wire`.
        """
        self._config = config
        self._manifest = manifest
        self._order = order
        self._site = site
        self._wire = wire
        self._givers = givers
        self._told = told
        self._here: set[str] = set()
        """Hashes of the files that were seen to have them."""
        self._others: dict[str, Path] = {}
        self._lock = threading.Condition()
        self._wanted: list[int] = []
        self._closing = False
        self._thread = threading.Thread(target=self._fetch_ahead, name="supply", daemon=True)

    def start(self) -> None:
        """Begin to fetch ahead."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; a file under way is gone on with another time. Idempotent, bounded by some 5 s."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout=_CLOSE_S)

    def read_next(self, rows: Iterable[Range], head: Commit | None) -> None:
        """Say which rows are read now; they, and what the run comes to after them, are fetched ahead.

        Of either no more than the shard in use and `data.ahead_shards` further ones.
        """
        after = head.ledger.free() if head is not None else ()
        most = 1 + self._config.data.ahead_shards
        numbers = chain(islice(self._shards_of(rows), most), islice(self._shards_of(after), most))
        with self._lock:
            self._wanted = list(dict.fromkeys(numbers))
            self._lock.notify_all()

    def provide(self, shard: Shard, *, progress: Callable[[], None]) -> None:
        """Have a shard here; blocks while it comes. `progress` is called meanwhile; what it raises ends it.

        As long as there is somebody to ask, it is tried again for `state.transfer_timeout_s`.

        Raises:
            DataError: It is not here and does not come, with what everybody asked says.
        """
        deadline = time.monotonic() + self._config.state.transfer_timeout_s
        while True:
            try:
                return self._get(_wanted(shard), progress)
            except DataError as error:
                if time.monotonic() > deadline or not self._sources():
                    raise
                _LOG.warning("site %s: %s; trying again", self._site, error)
            progress()
            time.sleep(_RETRY_S)

    def provide_soon(
        self, rows: Iterable[Range], *, most: int | None, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Have the first `most` shards of some rows here (None: all), as far as they can be had at once.

        What cannot is said in a warning: it is tried again when it is read. Once `stop` says so, it returns.
        """

        def go_on() -> None:
            if stop():
                raise _LetGoError

        for number in islice(self._shards_of(rows), most):
            try:
                self._get(_wanted(self._manifest.shards[number]), go_on)
            except DataError as error:
                _LOG.warning("site %s: %s", self._site, error)
            except _LetGoError:
                return

    def file(self, path: Path, sha256: str) -> None:
        """Have a file besides the shards here, and give it to others by its hash. Raises DataError."""
        known = self._manifest.tokenizer
        named = known.file if known is not None and known.sha256 == sha256 else path.name
        self._get(Wanted(path=path, file=named, sha256=sha256, limit_bytes=_FILE_LIMIT_BYTES))
        self._others[sha256] = path

    def held_out(self) -> None:
        """Have the shards that are never trained on here. Raises DataError."""
        for shard in self._manifest.held_out:
            self._get(_wanted(shard))

    def place_of(self, sha256: str) -> Path | None:
        """Return where the file with a hash is, if it is here: what is given to others."""
        path = self._others.get(sha256)
        if path is not None:
            return path
        shards = (*self._manifest.shards, *self._manifest.held_out)
        return next((one.path for one in shards if one.sha256 == sha256 and one.path.is_file()), None)

    def _shards_of(self, rows: Iterable[Range]) -> Iterable[int]:
        """Return the shards that hold these rows, as they are come to; none where rows are only numbers."""
        return self._order.shards_of(rows) if self._manifest.shards else ()

    def _get(self, wanted: Wanted, progress: Callable[[], None] = lambda: None) -> None:
        if wanted.sha256 in self._here:
            return
        obtained = obtain(wanted, self._sources(), progress=progress)
        self._here.add(wanted.sha256)
        if obtained is not None:
            _LOG.info(
                "site %s: %s came from %s: %d bytes in %.1f s",
                self._site,
                wanted.file,
                obtained.source,
                obtained.came_bytes,
                obtained.seconds,
            )
            self._told(wanted.file, obtained)

    def _sources(self) -> list[Source]:
        """Return the members, each site beginning with another one, and the manifest's address."""
        timeout = self._config.state.transfer_timeout_s
        givers = list(self._givers())
        first = zlib.crc32(self._site.encode()) % max(1, len(givers))
        run, wire = self._config.run.name, self._wire
        peers = [PeerSource(host, port, run=run, wire=wire, timeout=timeout) for host, port in givers]
        sources: list[Source] = [*peers[first:], *peers[:first]]
        if self._manifest.url is not None:
            sources.append(UrlSource(self._manifest.url, timeout=timeout))
        return sources

    def _fetch_ahead(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closing or bool(self._wanted))
                if self._closing:
                    return
                number = self._wanted.pop(0)
            try:
                self._get(_wanted(self._manifest.shards[number]), self._go_on)
            except _LetGoError:
                return
            except (CurtailError, OSError) as error:
                # Whoever reads it asks again, and says what is wrong if it still is.
                _LOG.warning("site %s: nothing is fetched ahead in this round: %s", self._site, error)
                with self._lock:
                    self._wanted.clear()

    def _go_on(self) -> None:
        if self._closing:
            raise _LetGoError


def _wanted(shard: Shard) -> Wanted:
    # Columnar and compressed, a shard is smaller than its texts; one of a few rows may be larger.
    limit = 2 * shard.bytes + _MARGIN_BYTES
    return Wanted(path=shard.path, file=shard.file, sha256=shard.sha256, limit_bytes=limit)
