"""The coordination store on etcd, over its v3 JSON gateway."""

import math
import threading
from base64 import b64decode
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from curtail_dist.coordination.access import Access, open_access
from curtail_dist.coordination.answers import Json, header_of
from curtail_dist.coordination.etcd_watch import EtcdWatch
from curtail_dist.coordination.gateway import Gateway, encode
from curtail_dist.coordination.store import CoordinationStore, Entry, Lease, Listing, TxnResult
from curtail_dist.coordination.transaction import check_disjoint
from curtail_dist.errors import LeaseExpired
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    from curtail_dist.config import CoordinationConfig


def open_store(config: "CoordinationConfig") -> CoordinationStore:
    """Open the store that the run file names; the caller closes it. Does not connect yet.

    Raises ConfigError where a file for TLS or the password cannot be used.
    """
    access = open_access(config.tls, config.user, config.password_file)
    return EtcdStore(config.endpoints, config.timeout_s, access=access)


class EtcdStore:
    """A `CoordinationStore` on etcd >= 3.4.

    Thread-safe. Owns its connections and the threads of its watches; `close` ends both.
    """

    def __init__(self, endpoints: Sequence[str], timeout_s: Seconds, *, access: Access | None = None) -> None:
        """Use the first of `endpoints` (HOST:PORT) that answers; a call takes `timeout_s` seconds at most.

        `access` says how connections are opened and as whom; default: in clear, as nobody.
        """
        self._gateway = Gateway(endpoints, timeout_s=timeout_s, access=access)
        self._lock = threading.Lock()
        self._watches: list[EtcdWatch] = []

    def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None."""
        answer = self._gateway.call("kv/range", {"key": encode(key)}, repeatable=True)
        return _first(answer)

    def list(self, prefix: str) -> Listing:
        """Return all entries whose key starts with `prefix`."""
        answer = self._gateway.call("kv/range", _below(prefix), repeatable=True)
        return Listing(
            entries=tuple(_entry(raw) for raw in answer.get("kvs", ())), revision=_revision(answer)
        )

    def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write without comparing; return the new revision. Raises LeaseExpired for an ended lease."""
        return _revision(self._gateway.call("kv/put", _put(key, value, lease), repeatable=False))

    def transact(
        self,
        *,
        compare: Mapping[str, int],
        puts: Mapping[str, bytes] | None = None,
        deletes: Sequence[str] = (),
        lease: Lease | None = None,
    ) -> TxnResult:
        """Apply all `puts` and `deletes` if every compared key has its revision, else none, in one call."""
        puts = puts or {}
        check_disjoint(puts, deletes)
        writes = [{"request_put": _put(key, value, lease)} for key, value in puts.items()]
        removals = [{"request_delete_range": {"key": encode(key)}} for key in deletes]
        answer = self._gateway.call(
            "kv/txn",
            {
                "compare": [_compare(key, revision) for key, revision in compare.items()],
                "success": writes + removals,
                "failure": [{"request_range": {"key": encode(key)}} for key in compare],
            },
            repeatable=False,
        )
        succeeded = bool(answer.get("succeeded", False))
        current: dict[str, Entry | None] = {}
        if not succeeded:
            found = [response["response_range"] for response in answer["responses"]]
            current = {key: _first(raw) for key, raw in zip(compare, found, strict=True)}
        return TxnResult(succeeded=succeeded, revision=_revision(answer), current=current)

    def compare_and_swap(
        self, key: str, value: bytes, *, revision: int, lease: Lease | None = None
    ) -> TxnResult:
        """Write `key` if its revision is still `revision` (0: it must not exist)."""
        return self.transact(compare={key: revision}, puts={key: value}, lease=lease)

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it existed."""
        answer = self._gateway.call("kv/deleterange", {"key": encode(key)}, repeatable=False)
        return int(answer.get("deleted", 0)) > 0

    def grant(self, ttl: Seconds) -> Lease:
        """Grant a lease of at least `ttl` seconds; etcd counts whole seconds and has a least of its own."""
        # Repeatable: a lost answer leaves a lease that nobody uses and that expires.
        asked = {"TTL": str(max(1, math.ceil(ttl))), "ID": "0"}
        answer = self._gateway.call("lease/grant", asked, repeatable=True)
        return _EtcdLease(self._gateway, id=int(answer["ID"]), ttl=float(answer["TTL"]))

    def watch(self, prefix: str, *, revision: int) -> EtcdWatch:
        """Watch all keys below `prefix`, beginning with changes made at `revision` or later."""
        watch = EtcdWatch(self._gateway, prefix, _below(prefix), revision)
        with self._lock:
            self._watches = [other for other in self._watches if not other.closed]
            self._watches.append(watch)
        return watch

    def close(self) -> None:
        """Close watches and connections; idempotent."""
        with self._lock:
            watches, self._watches = self._watches, []
        self._gateway.close()
        for watch in watches:
            watch.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


class _EtcdLease:
    """A lease that etcd counts down; it knows no more than its id."""

    def __init__(self, gateway: Gateway, *, id: int, ttl: Seconds) -> None:
        self._gateway = gateway
        self._id = id
        self._ttl = ttl

    @property
    def id(self) -> int:
        """Etcd's id of the lease."""
        return self._id

    @property
    def ttl(self) -> Seconds:
        """The granted time to live in seconds."""
        return self._ttl

    def keep_alive(self) -> None:
        """Renew for another `ttl`."""
        answer = self._gateway.call("lease/keepalive", {"ID": str(self._id)}, repeatable=True)
        # For a lease that is gone etcd answers without an error and without a TTL.
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            raise LeaseExpired(f"lease {self._id:x} no longer exists: grant another and write its keys again")

    def revoke(self) -> None:
        """End it now."""
        try:
            self._gateway.call("lease/revoke", {"ID": str(self._id)}, repeatable=True)
        except LeaseExpired:
            return


def _put(key: str, value: bytes, lease: Lease | None) -> Json:
    body: Json = {"key": encode(key), "value": encode(value)}
    return body if lease is None else {**body, "lease": str(lease.id)}


def _compare(key: str, revision: int) -> Json:
    return {"key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def _below(prefix: str) -> Json:
    """Select every key that starts with `prefix`."""
    if not prefix:
        return {"key": encode(b"\0"), "range_end": encode(b"\0")}
    raw = prefix.encode()
    # UTF-8 holds no 0xff, so the last byte can always be counted up.
    return {"key": encode(raw), "range_end": encode(raw[:-1] + bytes([raw[-1] + 1]))}


def _entry(raw: Mapping[str, Any]) -> Entry:
    return Entry(
        key=b64decode(raw["key"]).decode(errors="surrogateescape"),
        value=b64decode(raw.get("value", "")),
        revision=int(raw["mod_revision"]),
        lease=int(raw.get("lease", 0)),
    )


def _first(answer: Mapping[str, Any]) -> Entry | None:
    kvs = answer.get("kvs", ())
    return _entry(kvs[0]) if kvs else None


def _revision(answer: Json) -> int:
    return header_of(answer).revision
