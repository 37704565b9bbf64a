"""The state of one torchrun rendezvous as a fenced key in the coordination store.

What remains of torch here: the value is torch's own encoding of its state object, a pickle, and each node
unpickles what the others wrote. With the run's secret, a node hands torch only what another node with that
secret wrote for this key (`seal.Seal`). Without it this module passes the bytes on as they are: who may write
to etcd's keys below `/curtail/rendezvous/` can then run code on the nodes, as with every elastic backend of
torch. etcd's TLS and users keep strangers from writing there.
"""

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from torch.distributed.elastic.rendezvous.api import (
    RendezvousConnectionError,
    RendezvousParameters,
    RendezvousStateError,
)
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import RendezvousBackend

from curtail_dist.config.hosts import is_host_and_port
from curtail_dist.coordination import CoordinationStore, Entry, EtcdStore, Lease
from curtail_dist.errors import CoordinationError, LeaseExpired, StoreUnavailable
from curtail_dist.rendezvous.agent_store import AgentStore
from curtail_dist.rendezvous.heartbeats import Heartbeats
from curtail_dist.rendezvous.options import read_options
from curtail_dist.rendezvous.seal import Seal, SealBroken
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_ROOT = "/curtail/rendezvous"
_DEFAULT_PORT = 2379
KEPT_S: Seconds = 7200.0
"""Keys of a rendezvous vanish this long after the last node that wrote to it has gone."""
RETRY_S = 0.2
"""Pause after a write that the store did not answer."""


def open_backend(params: RendezvousParameters) -> tuple["StoreBackend", AgentStore]:
    """Open the state and the agents' store of the rendezvous `params.run_id`.

    Their connections close with the state's last reference: torch's handler, which holds it, has no close.

    Raises ValueError for a run id, an endpoint or an option that cannot be used, ConfigError for a file.
    """
    if not params.run_id or "/" in params.run_id:
        raise ValueError(f"--rdzv-id is {params.run_id!r}; it must be a name without '/', one for each start")
    options = read_options(params.config)
    store = EtcdStore(parse_endpoints(params.endpoint), options.timeout_s, access=options.access)
    lease, seal = LongLease(store), Seal(options.secret)
    root = f"{_ROOT}/{params.run_id}"
    backend = StoreBackend(store, lease.renewed, key=root, name=params.backend, seal=seal)
    weakref.finalize(backend, store.close)
    return backend, AgentStore(store, lease.renewed, prefix=f"{root}/keys/", seal=seal)


def parse_endpoints(endpoint: str) -> tuple[str, ...]:
    """Split `--rdzv-endpoint`: HOST[:PORT] once or several times, with commas between."""
    endpoints: list[str] = []
    for part in filter(None, (part.strip() for part in endpoint.split(","))):
        whole = part if ":" in part and not part.endswith("]") else f"{part}:{_DEFAULT_PORT}"
        if not is_host_and_port(whole):
            raise ValueError(
                f"--rdzv-endpoint has {part!r}; it must be HOST:PORT of etcd's client API, without http://, "
                "and an IPv6 address in brackets"
            )
        endpoints.append(whole)
    if not endpoints:
        raise ValueError("--rdzv-endpoint is empty; it must be HOST:PORT of etcd's client API")
    return tuple(endpoints)


class LongLease:
    """The lease that this node's rendezvous keys live on; it outlasts the node by `KEPT_S`. Thread-safe."""

    def __init__(self, store: CoordinationStore) -> None:
        """Ask nothing of the store yet."""
        self._store = store
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._renewed_at = 0.0

    def renewed(self) -> Lease:
        """Return a lease with most of its time left. Raises StoreUnavailable."""
        with self._lock:
            now = time.monotonic()
            if self._lease is not None and now - self._renewed_at > KEPT_S / 10:
                try:
                    self._lease.keep_alive()
                    self._renewed_at = now
                except LeaseExpired:
                    self._lease = None
            if self._lease is None:
                self._lease = self._store.grant(KEPT_S)
                self._renewed_at = now
            return self._lease


class StoreBackend(RendezvousBackend):
    """torch's compare-and-swap register: the key's revision is the token.

    While the store cannot be reached, `get_state` answers with the last state it read or wrote. torchrun
    asks once a second whether somebody waits to join, and an error would make it end the site's ranks, but
    training is to outlive an outage of the store. A stale state can do no harm: its token is a fence, so that
    nothing can be written on the strength of it. `set_state` then says that it did not succeed, after a
    moment: torch tries again until its own deadline. The time away is excused in the heartbeats that torch
    is handed. Both raise where nothing was ever read, and RendezvousStateError for a state whose seal is
    broken: torch never gets to unpickle it.
    """

    def __init__(
        self, store: CoordinationStore, lease: Callable[[], Lease], *, key: str, name: str, seal: Seal
    ) -> None:
        """Keep the state under `key`; `name` is the backend's name as the user gave it."""
        self._seal = seal
        self._store = store
        self._lease = lease
        self._key = key
        self._name = name
        self._heartbeats = Heartbeats()
        self._last: tuple[bytes, int] | None = None
        self._has_asked = False

    @property
    def name(self) -> str:
        """The name that the user asked for: torch refuses a handler that says another."""
        return self._name

    def get_state(self) -> tuple[bytes, int] | None:
        """Return the state and its token, or None where there is none."""
        try:
            entry = self._store.get(self._key)
        except StoreUnavailable as error:
            if not self._has_asked:
                raise _lost(error) from error
            log.warning("rendezvous goes on with the last state it knows: %s", error)
            self._heartbeats.missed()
            return self._excused()
        except CoordinationError as error:
            raise _lost(error) from error
        self._take(entry)
        return self._excused()

    def set_state(self, state: bytes, token: Any | None = None) -> tuple[bytes, int, bool] | None:
        """Write the state if `token` is still the key's revision (None: the key does not exist).

        Returns the state that stands then, its token, and whether it is this one.
        """
        # After an answer that was lost, the write may stand: the next call finds the token stale, reads what
        # is there, and torch decides anew.
        try:
            sealed = self._seal.wrap(self._key, state)
            result = self._store.compare_and_swap(self._key, sealed, revision=token or 0, lease=self._lease())
        except StoreUnavailable as error:
            if self._last is None:
                raise _lost(error) from error
            log.warning("rendezvous keeps the last state it knows: %s", error)
            self._heartbeats.missed()
            time.sleep(RETRY_S)
            excused = self._excused()
            return excused and (*excused, False)
        except CoordinationError as error:
            raise _lost(error) from error
        if result.succeeded:
            self._take(None)
            self._last = (state, result.revision)
            return state, result.revision, True
        self._take(result.current[self._key])
        excused = self._excused()
        return excused and (*excused, False)

    def _take(self, entry: Entry | None) -> None:
        """Take note of what the store answers."""
        self._has_asked = True
        self._heartbeats.answered()
        self._last = self._opened(entry)

    def _excused(self) -> tuple[bytes, int] | None:
        """Return the last state that is known, without what outages did to it, and its token."""
        if self._last is None:
            return None
        state, token = self._last
        return self._heartbeats.excused(state), token

    def _opened(self, entry: Entry | None) -> tuple[bytes, int] | None:
        if entry is None:
            return None
        try:
            return self._seal.unwrap(self._key, entry.value), entry.revision
        except SealBroken as error:
            raise RendezvousStateError(str(error)) from error


def _lost(error: CoordinationError) -> RendezvousConnectionError:
    return RendezvousConnectionError(str(error))
