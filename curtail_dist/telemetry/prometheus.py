"""Serves metrics to Prometheus: an HTTP endpoint in a thread of its own.

Whoever asks is answered from what was published last, so that neither a scrape nor a stranger at the port
waits for the agent, or the agent for them. One connection is answered at a time, and cut after DEADLINE_S.
"""

import io
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Self

from curtail_dist.errors import ConfigError
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

DEADLINE_S: Seconds = 2.0
"""Real time in which a request must have come, and again in which its answer must have gone."""
_JOIN_S: Seconds = 10.0
_PATH = "/metrics"


class MetricsEndpoint:
    """Answers GET /metrics. Owns its socket from construction, and its thread from then on, until `close`.

    prometheus_client is imported here and nowhere before.
    """

    def __init__(self, address: str, collect: Callable[[], "Iterable[Metric]"]) -> None:
        """Listen at `address`, HOST:PORT. `collect` gives what is known, at once, from any thread.

        Raises ConfigError where the port is taken or the host is not this machine's.
        """
        # Here, since it is wanted by those alone who serve metrics, and importing it counts this process.
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_collector(collect))

        class Answer(_Answer):
            def page(self) -> tuple[str, bytes]:
                return CONTENT_TYPE_LATEST, generate_latest(registry)

        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host, int(port)), Answer)
        except OSError as error:
            raise ConfigError(
                f"telemetry.prometheus is {address}, where this agent cannot listen "
                f"({error.strerror or error}); it must be an address of this machine and a free port, one "
                "for each agent of it"
            ) from error
        self.address = f"{host}:{self._server.server_address[1]}"
        """HOST:PORT, with the port that was found where 0 was asked for."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and join the thread; idempotent and bounded."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_JOIN_S)
        self._server.server_close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _collector(collect: Callable[[], "Iterable[Metric]"]) -> "Collector":
    from prometheus_client.registry import Collector

    class Published(Collector):
        def collect(self) -> "Iterable[Metric]":
            return collect()

    return Published()


class _Server(socketserver.TCPServer):
    allow_reuse_address = True
    allow_reuse_port = False  # else two agents on one port would answer in turns
    request_queue_size = 16

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request for metrics from %s failed: %s", client_address, sys.exception())


class _Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    timeout = DEADLINE_S  # of a write, which the socket counts as a whole

    def setup(self) -> None:
        super().setup()
        # A socket's own deadline begins anew with each byte that comes; that would let a trickle go on.
        self.rfile = io.BufferedReader(_Deadlined(self.connection))

    def page(self) -> tuple[str, bytes]:
        """Return the type of the content, and the content."""
        raise NotImplementedError

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != _PATH:
            self._send(404, "text/plain", f"metrics are at {_PATH}\n".encode())
            return
        kind, content = self.page()
        self._send(200, kind, content)

    def _send(self, code: int, kind: str, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


class _Deadlined(io.RawIOBase):
    """Reads from a socket until DEADLINE_S after it was made; TimeoutError from then on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = time.monotonic() + DEADLINE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("a request for metrics did not come in time")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(DEADLINE_S)
