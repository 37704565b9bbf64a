"""An open answer of etcd's gateway that goes on: one JSON message a line."""

import json
import logging
import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse

from curtail_dist.coordination.answers import Json, reason
from curtail_dist.errors import StoreUnavailable
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)


class Stream:
    """One thread reads; any thread may interrupt, which ends the read at once."""

    def __init__(
        self,
        endpoint: str,
        connection: HTTPConnection,
        wire: socket.socket,
        response: HTTPResponse,
        *,
        begun: int,
        token: str | None,
    ) -> None:
        """Take over a connection whose answer has begun; `wire` is its socket."""
        self.endpoint = endpoint
        self.begun = begun
        """The highest revision that had been seen when it was asked for."""
        self.token = token
        """The token that it was asked for with."""
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
            # The plain socket's: that of an SSL socket would take its state from below the reader's feet.
            socket.socket.shutdown(self._wire, socket.SHUT_RDWR)
        except OSError as error:
            log.debug("the watch connection to %s was down already: %s", self.endpoint, error)

    def close(self) -> None:
        """Free the connection; by the reader, idempotent."""
        self._response.close()
        self._connection.close()
        self._wire.close()
