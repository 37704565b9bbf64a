"""A site's presence in the run: its leased key, and its word that it lives when somebody suspects it."""

import logging
import threading

from curtail_dist.coordination.store import Change, CoordinationStore, Lease
from curtail_dist.errors import LeaseExpired, StoreUnavailable
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Member, Presence, encode
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.2


class Registration:
    """Holds `members/SITE` on a lease and renews it from a thread of its own, between `start` and `close`.

    A lease that lapsed while the store was away is replaced and the key written again: under a standing epoch
    nothing is lost by it.
    """

    def __init__(self, store: CoordinationStore, keys: Keys, member: Member, *, ttl: Seconds) -> None:
        """Register `member` with leases of about `ttl` seconds."""
        self._store = store
        self._keys = keys
        self._member = member
        self._asked_ttl = ttl
        self._ready = ""
        self._lease: Lease | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def start(self) -> None:
        """Register now and keep it up. Raises StoreUnavailable."""
        with self._lock:
            self._register()
        self._thread.start()

    def show_ready(self, hash: str) -> None:
        """Show that this site holds this version and waits to enter; empty: it does not wait."""
        with self._lock:
            self._ready = hash
            try:
                self._write(self._lease)
            except LeaseExpired:
                self._register()

    def react(self, change: Change) -> None:
        """Affirm that this site lives when a survivor suspects it. Called by the board's thread."""
        prefix, _, site = change.key.rpartition("/")
        if (
            change.entry is None
            or site != self._member.site
            or not prefix.startswith(f"{self._keys.root}suspect/")
        ):
            return
        epoch = int(prefix.rpartition("/")[2])
        word = encode({"incarnation": self._member.incarnation})
        try:
            self._store.put(self._keys.affirm(epoch, site), word)
        except StoreUnavailable as error:
            _LOG.warning("could not affirm in epoch %d: %s", epoch, error)

    def close(self) -> None:
        """Withdraw the key and end the lease; idempotent, bounded."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)
        with self._lock:
            lease, self._lease = self._lease, None
        if lease is not None:
            try:
                lease.revoke()
            except StoreUnavailable as error:
                _LOG.warning("the lease is left to lapse by itself: %s", error)

    def _register(self) -> None:
        """Write the key on a new lease, which counts only when the key stands."""
        lease = self._store.grant(self._asked_ttl)
        self._write(lease)
        self._lease = lease

    def _write(self, lease: Lease | None) -> None:
        value = Presence(member=self._member, ready=self._ready).encode()
        self._store.put(self._keys.member(self._member.site), value, lease=lease)

    def _renew(self) -> None:
        pause = self._asked_ttl / 3
        while not self._closing.wait(pause):
            try:
                if self._lease is not None:
                    self._lease.keep_alive()
                pause = self._asked_ttl / 3
            except LeaseExpired:
                _LOG.warning("site %s: the lease lapsed; registering again", self._member.site)
                self._retry_registration()
            except StoreUnavailable as error:
                _LOG.warning("site %s: the lease was not renewed: %s", self._member.site, error)
                pause = _RETRY_S

    def _retry_registration(self) -> None:
        try:
            with self._lock:
                self._register()
        except (StoreUnavailable, LeaseExpired) as error:
            _LOG.warning("site %s: could not register again yet: %s", self._member.site, error)
