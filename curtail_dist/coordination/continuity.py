"""Whether the store that answers is still the one that answered before."""

import threading

from curtail_dist.errors import StoreReplaced


class Continuity:
    """What one handle knows of its store: which cluster it is, and up to which revision it has been seen.

    Thread-safe. Once broken it stays broken: a store that was replaced can catch up in number only.

    Not noticed is a store that was set back, or wiped and given the same cluster id, and then written beyond
    what this handle has seen. As every process that lived through it stops, only new ones write there.
    """

    def __init__(self) -> None:
        """Know nothing: the first answer says which store it is."""
        self._lock = threading.Lock()
        self._cluster: int | None = None
        self._revision = 0
        self._broken: str | None = None

    @property
    def known(self) -> bool:
        """Whether any answer has been seen."""
        return self._cluster is not None

    def begin(self) -> int:
        """Return the highest revision seen so far, for a request that begins now.

        Raises StoreReplaced when an answer has shown that before.
        """
        with self._lock:
            if self._broken is not None:
                raise StoreReplaced(self._broken)
            return self._revision

    def confirm(self, where: str, cluster: int, revision: int, *, begun: int) -> None:
        """Take note of the answer to a linearizable request, of which `begin` gave `begun`.

        Answers that overtake each other are no contradiction: each is held against what had been seen when
        its request began, since the store must have known that much by then. With `begun` 0 only the cluster
        counts.

        Raises StoreReplaced when the answer comes from another cluster or from an older state.
        """
        with self._lock:
            known = cluster if self._cluster is None else self._cluster
            if cluster != known or revision < begun:
                self._broken = (
                    f"{where} is cluster {cluster:x} at revision {revision}; it must be cluster {known:x} at "
                    f"revision {begun} or later, which this process has seen: stop all sites, then bring the "
                    "newest data directory back, or have `curtail recover` begin a new chain from the newest "
                    "snapshot"
                )
                raise StoreReplaced(self._broken)
            self._cluster = cluster
            self._revision = max(self._revision, revision)
