"""The rows that a site trains on: which they are, in which order, and how they come to be on its disk."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Range
from curtail_dist.data.loader import Row, RowReader
from curtail_dist.data.manifest import Shard, read_manifest
from curtail_dist.data.order import RowOrder
from curtail_dist.errors import DataError
from curtail_dist.membership.records import Commit
from curtail_dist.runtime.inner_loop import Upcoming
from curtail_dist.runtime.supply import Address, Supply, Told
from curtail_dist.security.wire import Wire


class SiteData:
    """A data set as one rank of a site sees it. Owns a thread that fetches ahead, from `start` to `close`."""

    def __init__(
        self,
        config: RunConfig,
        *,
        site: str,
        wire: Wire,
        givers: Callable[[], Sequence[Address]],
        progress: Callable[[], None],
        told: Told,
    ) -> None:
        """Read the manifest; no shard is opened. Raises DataError.

        Args:
            config: The run file.
            site: The site's name in it.
            wire: How other processes of the run are connected to.
            givers: State servers that may have a file which is not here.
            progress: Called from time to time while the main loop waits for a shard.
            told: Called with each file that was fetched.
        """
        self._config = config
        self._progress = progress
        manifest = self._manifest = read_manifest(config.data.manifest)
        sizes = [shard.rows for shard in manifest.shards] or [manifest.rows]
        self._order = RowOrder(sizes, passes=config.data.passes, seed=config.run.seed)
        self._supply = Supply(config, manifest, self._order, site=site, wire=wire, givers=givers, told=told)
        self._reader = RowReader(manifest, provide=self._provide)

    @property
    def hash(self) -> str:
        """Identity of the data set."""
        return self._manifest.hash

    @property
    def total_rows(self) -> int:
        """Positions of all passes."""
        return self._order.total

    def start(self) -> None:
        """Begin to fetch ahead what is missing."""
        self._supply.start()

    def close(self) -> None:
        """End that; idempotent, bounded."""
        self._supply.close()

    def number(self, position: int) -> int:
        """Return the number of the row at a position."""
        return self._order.row(position)

    def row(self, position: int, start: int) -> Row:
        """Return the row at a position, of which the chain has `start` tokens. Raises DataError."""
        if not self._manifest.shards:
            raise DataError(
                f"manifest {self._config.data.manifest} only says how many rows there are; "
                "take their numbers from site.indices(), or name shards"
            )
        return replace(self._reader[self._order.row(position)], start=start)

    def expect(self, coming: Upcoming, *, stop: Callable[[], bool]) -> None:
        """Have the shards of those rows here, as far as they can be had now and until `stop` says so."""
        most = 1 + self._config.data.ahead_shards if coming.vague else None
        self._supply.provide_soon(coming.rows, most=most, stop=stop)

    def read_next(self, rows: Sequence[Range], head: Commit | None) -> None:
        """Say from which rows are taken from now on: what comes next is fetched ahead."""
        self._supply.read_next(rows, head)

    def obtain(self, path: Path, sha256: str) -> None:
        """Have a file besides the shards here. Raises DataError."""
        self._supply.file(path, sha256)

    def obtain_held_out(self) -> None:
        """Have the shards here that are never trained on. Raises DataError."""
        self._supply.held_out()

    def place_of(self, sha256: str) -> Path | None:
        """Return where the file with a hash is, if it is here."""
        return self._supply.place_of(sha256)

    def _provide(self, shard: Shard) -> None:
        self._supply.provide(shard, progress=self._progress)
