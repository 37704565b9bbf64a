"""Connections on which both sides prove that they know the run's secret, by TLS 1.3."""

import contextlib
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from curtail_dist.security.authority import Credentials, make_credentials
from curtail_dist.security.secret import RunSecret
from curtail_dist.units import Seconds

_LEAST_S = 0.001
"""A timeout of 0 would mean not to wait at all."""


class SecretWire:
    """TLS with a certificate that this process makes for itself, and no other authority than the run's.

    Names and addresses are not compared: sites move, and whoever knows the secret belongs to the run.
    """

    secure = True

    def __init__(self, secret: RunSecret, run: str) -> None:
        """Derive what the run's processes are known by; the secret itself is not kept."""
        self.mark = secret.fingerprint
        made = make_credentials(secret, run)
        self._giving = _context(ssl.PROTOCOL_TLS_SERVER, made)
        self._giving.num_tickets = 0  # one that comes unasked would make an idle connection readable
        self._asking = _context(ssl.PROTOCOL_TLS_CLIENT, made)

    def connect(self, address: tuple[str, int], *, timeout: Seconds) -> socket.socket:
        """Connect; the whole takes `timeout` seconds at most, and each operation after it."""
        deadline = time.monotonic() + timeout
        connection = socket.create_connection(address, timeout=timeout)
        try:
            within = max(_LEAST_S, deadline - time.monotonic())
            return _proved(connection, self._asking, server_side=False, within=within, timeout=timeout)
        except ssl.SSLError as error:
            raise ConnectionError(
                f"{address[0]}:{address[1]} does not prove that it belongs to the run ({error.reason}); "
                f"the run's name and secret must be the same at all sites"
            ) from error

    def accept(self, connection: socket.socket, *, timeout: Seconds) -> socket.socket:
        """Have the other side prove itself."""
        return _proved(connection, self._giving, server_side=True, within=timeout, timeout=timeout)


def _proved(
    connection: socket.socket,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    within: Seconds,
    timeout: Seconds,
) -> ssl.SSLSocket:
    """Return the connection once both sides have proved themselves; it is closed where this raises."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secure = context.wrap_socket(connection, server_side=server_side, do_handshake_on_connect=False)
        stack.enter_context(secure)
        secure.settimeout(within)
        secure.do_handshake()
        secure.settimeout(timeout)
        stack.pop_all()  # the caller's to close
        return secure


def _context(protocol: int, made: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=made.authority)
    with _as_file(made.leaf) as path:
        context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def _as_file(content: bytes) -> Generator[str]:
    """Give content a path for as long as the context lasts: in memory alone, where the system can."""
    try:
        descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        descriptor = -1
    path = f"/proc/self/fd/{descriptor}"
    if descriptor >= 0 and Path(path).exists():
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield path
        return
    if descriptor >= 0:
        os.close(descriptor)
    with tempfile.TemporaryDirectory(
        prefix="curtail-"
    ) as folder:  # for this user alone, and so what is in it
        place = Path(folder) / "credentials.pem"
        place.touch(mode=0o600)
        place.write_bytes(content)
        yield str(place)
