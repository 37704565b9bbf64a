"""Asks at a site's state server whether the site's process is there: once, or for as long as it lives."""

import contextlib
import socket

from curtail_dist.security.wire import Wire
from curtail_dist.state.wire import REQUEST_BYTES, SCHEMA, receive_message, send_message
from curtail_dist.units import Seconds


def probe(host: str, port: int, *, run: str, wire: Wire, timeout: Seconds) -> bool:
    """Return whether a site of this run serves state there; within about `timeout` seconds of real time."""
    try:
        with wire.connect((host, port), timeout=timeout) as connection:
            return _answers(connection, "answer", run, timeout)
    except (OSError, ValueError):
        return False


def refuses(host: str, port: int, *, timeout: Seconds) -> bool:
    """Return whether that host says that nobody listens there; a host that says nothing does not refuse.

    It is the host that is asked, and not the run: no wire, and not a word.
    """
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def tie(host: str, port: int, *, run: str, wire: Wire, timeout: Seconds) -> socket.socket | None:
    """Return a connection that the site's process keeps open while it lives; None if it does not answer."""
    with contextlib.ExitStack() as stack:
        try:
            line = stack.enter_context(wire.connect((host, port), timeout=timeout))
            if _answers(line, "tether", run, timeout):
                stack.pop_all()  # the caller's to close
                return line
        except (OSError, ValueError):
            return None
    return None


def _answers(connection: socket.socket, want: str, run: str, timeout: Seconds) -> bool:
    send_message(connection, {"schema": SCHEMA, "run": run, "want": want})
    return receive_message(connection, limit_bytes=REQUEST_BYTES, within=timeout).get("here") is True
