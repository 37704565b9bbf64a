"""Calls to etcd's v3 JSON gateway: several endpoints in turn, one deadline, pooled connections.

The gateway speaks protobuf's JSON: bytes are base64, 64-bit integers are strings, and fields with the zero
value are left out.
"""

import json
import logging
import select
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse

from curtail_dist.coordination.answers import Json, NoAnswer, header_of, parse, reason, unavailable
from curtail_dist.coordination.continuity import Continuity
from curtail_dist.errors import CoordinationError, StoreUnavailable
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_IDLE_CONNECTIONS = 8
"""Connections to one endpoint that are kept for the next call."""
_HEADERS = {"Content-Type": "application/json"}


def encode(text: str | bytes) -> str:
    """Encode a key or value for the gateway."""
    return b64encode(text.encode() if isinstance(text, str) else text).decode("ascii")


_PROBE: Json = {"key": encode(b"\0"), "count_only": True}
"""The cheapest linearizable read."""


class Stream:
    """An open streaming answer. One thread reads; any thread may close, which ends the read at once."""

    def __init__(
        self,
        endpoint: str,
        connection: HTTPConnection,
        wire: socket.socket,
        response: HTTPResponse,
        *,
        begun: int,
    ) -> None:
        """Take over a connection whose answer has begun; `wire` is its socket."""
        self.endpoint = endpoint
        self.begun = begun
        """The highest revision that had been seen when it was asked for."""
        self._connection = connection
        self._wire = wire
        self._response = response

    def read(self, silence: Seconds) -> Json | None:
        """Return the next message, or None when none came for `silence` seconds; then close it.

        Raises StoreUnavailable when the connection broke or the server ended the stream.
        """
        try:
            self._wire.settimeout(silence)
            line = self._response.readline()
            while line.isspace():
                line = self._response.readline()
            message = json.loads(line) if line else None
        except TimeoutError:
            return None
        except (OSError, HTTPException, ValueError) as error:
            raise StoreUnavailable(f"etcd at {self.endpoint} broke the watch ({reason(error)})") from error
        if message is None:
            raise StoreUnavailable(f"etcd at {self.endpoint} ended the watch (it is stopping or overloaded)")
        if "result" not in message:
            raise StoreUnavailable(f"etcd at {self.endpoint} refuses the watch: {message.get('error')}")
        return message["result"]

    def interrupt(self) -> None:
        """Wake a pending `read`; for other threads than the reader's."""
        try:
            self._wire.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("the watch connection to %s was down already: %s", self.endpoint, error)

    def close(self) -> None:
        """Free the connection; by the reader, idempotent."""
        self._response.close()
        self._connection.close()
        self._wire.close()


class Gateway:
    """etcd's JSON gateway behind one or more endpoints, of which the first that answers is used.

    Thread-safe; not to be shared across a fork. Owned by a store, which closes it.
    """

    def __init__(self, endpoints: Sequence[str], *, timeout_s: Seconds) -> None:
        """Connect lazily to `endpoints`, each HOST:PORT; a call takes `timeout_s` seconds at most."""
        if not endpoints:
            raise ValueError("endpoints is empty; it must name at least one HOST:PORT")
        self.timeout_s = timeout_s
        self._endpoints = tuple(endpoints)
        self._continuity = Continuity()
        self._lock = threading.Lock()
        self._preferred = 0
        self._idle: dict[str, list[HTTPConnection]] = {endpoint: [] for endpoint in endpoints}
        self._closed = False

    def call(self, path: str, body: Json, *, repeatable: bool) -> Json:
        """POST `body` to /v3/`path` and return the answer.

        A call that writes is not `repeatable`: once it may have been sent it goes to no other endpoint, since
        a second copy could meet the effect of the first.

        Raises StoreUnavailable without an answer in time, LeaseExpired when etcd misses the lease,
        StoreReplaced when it is not the etcd of before, and CoordinationError when it refuses the call.
        """
        data = json.dumps(body).encode()
        deadline = time.monotonic() + self.timeout_s
        failures: list[str] = []
        order = self._order()
        for position, endpoint in enumerate(order):
            until = _share(deadline, len(order) - position)
            try:
                return self._exchange(endpoint, path, data, (until, deadline), repeatable=repeatable)
            except NoAnswer as failure:
                self._avoid(endpoint)
                failures.append(str(failure))
                if failure.sent and not repeatable:
                    break
        raise unavailable(failures)

    def stream(self, path: str, body: Json) -> Stream:
        """POST `body` to /v3/`path` and return the open answer. Raises as `call` does."""
        data = json.dumps(body).encode()
        deadline = time.monotonic() + self.timeout_s
        failures: list[str] = []
        order = self._order()
        for position, endpoint in enumerate(order):
            try:
                return self._open(endpoint, path, data, _share(deadline, len(order) - position))
            except NoAnswer as failure:
                self._avoid(endpoint)
                failures.append(str(failure))
        raise unavailable(failures)

    def weigh(self, endpoint: str, message: Json, begun: int) -> None:
        """Take note of an answer that a member of the cluster may give while it lags behind the others.

        When it is older than `begun`, what had been seen when it was asked for, a linearizable read settles
        whether the store was set back. Raises StoreReplaced then, and as `call` does.
        """
        self._confirm(endpoint, message, 0)
        if header_of(message).revision < begun:
            self.call("kv/range", _PROBE, repeatable=True)

    def close(self) -> None:
        """Close idle connections; idempotent. Later calls raise StoreUnavailable."""
        with self._lock:
            self._closed = True
            idle = [connection for connections in self._idle.values() for connection in connections]
            for connections in self._idle.values():
                connections.clear()
        for connection in idle:
            connection.close()

    def _order(self) -> tuple[str, ...]:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("this store was closed; open another with open_store()")
            return self._endpoints[self._preferred :] + self._endpoints[: self._preferred]

    def _avoid(self, endpoint: str) -> None:
        with self._lock:
            if self._endpoints[self._preferred] == endpoint:
                self._preferred = (self._preferred + 1) % len(self._endpoints)

    def _exchange(
        self, endpoint: str, path: str, data: bytes, limits: tuple[float, float], *, repeatable: bool
    ) -> Json:
        """Call one endpoint. It has its share of the time to connect, and to answer what is repeatable."""
        share, deadline = limits
        begun = self._continuity.begin()
        connection, fresh = self._connect(endpoint, share)
        if fresh and self._continuity.known and not repeatable:
            self._meet(endpoint, connection, share, begun)
        status, raw = self._post(endpoint, connection, path, data, share if repeatable else deadline)
        self._keep(endpoint, connection)
        answer = parse(endpoint, status, raw)
        if "header" in answer:
            self._confirm(endpoint, answer, begun)
        elif "result" in answer:
            self.weigh(endpoint, answer["result"], begun)
        return answer

    def _meet(self, endpoint: str, connection: HTTPConnection, until: float, begun: int) -> None:
        """Read over a new connection before anything is written over it: a restart may have come before."""
        try:
            status, raw = self._post(endpoint, connection, "kv/range", json.dumps(_PROBE).encode(), until)
            self._confirm(endpoint, parse(endpoint, status, raw), begun)
        except (NoAnswer, CoordinationError) as error:
            connection.close()
            if isinstance(error, NoAnswer):
                error.sent = False
            raise

    def _confirm(self, endpoint: str, answer: Json, begun: int) -> None:
        cluster, revision = header_of(answer)
        self._continuity.confirm(f"etcd at {endpoint}", cluster, revision, begun=begun)

    def _post(
        self, endpoint: str, connection: HTTPConnection, path: str, data: bytes, until: float
    ) -> tuple[int, bytes]:
        try:
            connection.sock.settimeout(_left(until))
            connection.request("POST", f"/v3/{path}", body=data, headers=_HEADERS)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=True) from error
        return response.status, body

    def _open(self, endpoint: str, path: str, data: bytes, until: float) -> Stream:
        begun = self._continuity.begin()
        connection, _ = self._connect(endpoint, until)
        wire: socket.socket = connection.sock
        try:
            wire.settimeout(_left(until))
            connection.request("POST", f"/v3/{path}", body=data, headers=_HEADERS)
            response = connection.getresponse()
            if response.status != 200:
                parse(endpoint, response.status, response.read())
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=True) from error
        except (NoAnswer, CoordinationError):
            connection.close()
            raise
        return Stream(endpoint, connection, wire, response, begun=begun)

    def _connect(self, endpoint: str, until: float) -> tuple[HTTPConnection, bool]:
        """Return a connection, and whether it is a new one."""
        with self._lock:
            idle = self._idle[endpoint]
            while idle:
                connection = idle.pop()
                if not _dropped(connection):
                    return connection, False
                connection.close()
        host, _, port = endpoint.rpartition(":")
        connection = HTTPConnection(host.strip("[]"), int(port), timeout=_left(until))
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=False) from error
        return connection, True

    def _keep(self, endpoint: str, connection: HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle[endpoint]) < _IDLE_CONNECTIONS:
                self._idle[endpoint].append(connection)
                return
        connection.close()


def _left(until: float) -> Seconds:
    return max(0.001, until - time.monotonic())


def _share(deadline: float, endpoints: int) -> float:
    """Return until when one of `endpoints` that are left may take, so that each gets its turn."""
    return time.monotonic() + _left(deadline) / endpoints


def _dropped(connection: HTTPConnection) -> bool:
    """Whether the server has closed an idle connection: nothing else can make it readable."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
