"""Connections to etcd's endpoints: in clear or over TLS, opened when wanted and kept for the next call."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPSConnection

from curtail_dist.coordination.answers import NoAnswer, reason
from curtail_dist.errors import StoreUnavailable
from curtail_dist.units import Seconds

_IDLE = 8
"""Connections to one endpoint that are kept."""
_TRUST = (
    "the authority's certificate must be that of who signed etcd's, which must be valid and name the host of "
    "the endpoint"
)

_SPEAKS = ("it speaks TLS", "give the files for TLS, or start it without")
_SPEAKS_NOT = ("it does not speak TLS", "start it with a certificate, or leave tls out")


class Connections:
    """Open connections by endpoint. Thread-safe; not to be shared across a fork."""

    def __init__(self, endpoints: Sequence[str], context: ssl.SSLContext | None) -> None:
        """Connect to nobody yet; `context` None is for connections in clear."""
        self._context = context
        self._lock = threading.Lock()
        self._idle: dict[str, list[HTTPConnection]] = {endpoint: [] for endpoint in endpoints}
        self._closed = False

    def check(self) -> None:
        """Raise StoreUnavailable once closed."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable("this store was closed; open another with open_store()")

    def take(self, endpoint: str, until: float) -> tuple[HTTPConnection, bool]:
        """Return a connection, and whether it is a new one. Raises NoAnswer."""
        with self._lock:
            idle = self._idle[endpoint]
            while idle:
                connection = idle.pop()
                if not _dropped(connection):
                    return connection, False
                connection.close()
        connection = self._new(endpoint, until)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise NoAnswer(endpoint, _untrusted(error), sent=False, remedy=_TRUST) from error
        except OSError as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=False) from error
        return connection, True

    def keep(self, endpoint: str, connection: HTTPConnection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            if not self._closed and len(self._idle[endpoint]) < _IDLE:
                self._idle[endpoint].append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; idempotent. What is in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle = [connection for connections in self._idle.values() for connection in connections]
            for connections in self._idle.values():
                connections.clear()
        for connection in idle:
            connection.close()

    def mismatch(self, endpoint: str, until: float) -> tuple[str, str] | None:
        """Look whether an endpoint that broke off speaks TLS where we do not, or we do where it does not.

        Returns what is wrong and what to do; None where that is not it. Both break off without a word.
        """
        try:
            with socket.create_connection(_address(endpoint), timeout=left(until)) as wire:
                if self._context is None:
                    return _SPEAKS if _speaks_tls(wire) else None
                wire.sendall(b"GET /version HTTP/1.0\r\n\r\n")
                return _SPEAKS_NOT if wire.recv(5) == b"HTTP/" else None
        except OSError:
            return None

    def _new(self, endpoint: str, until: float) -> HTTPConnection:
        host, port = _address(endpoint)
        if self._context is None:
            return HTTPConnection(host, port, timeout=left(until))
        return HTTPSConnection(host, port, timeout=left(until), context=self._context)


def left(until: float) -> Seconds:
    """Return the time until a moment of the monotonic clock, as a timeout: above 0."""
    return max(0.001, until - time.monotonic())


def _address(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _speaks_tls(wire: socket.socket) -> bool:
    """Find out by a handshake, without trust: nothing is said over the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(wire).close()
    except ssl.SSLError as error:
        # An alert is TLS, too: it wants a certificate of us.
        return "ALERT" in str(error.reason)
    return True


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    return f"its certificate is not to be trusted: {error.verify_message.rstrip('.')}"


def _dropped(connection: HTTPConnection) -> bool:
    """Whether the server has closed an idle connection: nothing else can make it readable."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
