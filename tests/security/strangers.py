"""Strangers: everything that somebody without the secret can think of saying to a port."""

import contextlib
import json
import random
import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor

from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire

TIMEOUT_S = 10.0
SILENT = 300
"""Connections that stay, and say nothing."""
_THREADS = 4


def _hello():
    """What a TLS client says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


HELLO = _hello()
OTHER = SecretWire(RunSecret(b"a stranger's own secret, 32 bytes"), "t")
REQUESTS = [
    {"schema": 3, "run": "t", "want": "answer"},
    {"schema": 3, "run": "t", "want": "version", "number": 1, "hash": "0" * 64},
    {"schema": 3, "run": "t", "want": "file", "sha256": "0" * 64, "start": -1},
    {"schema": 1, "group": "t/2", "caller": 1, "called": 0, "lane": 0},
    {"schema": [], "run": {}},
]


def framed(content):
    return len(content).to_bytes(4, "big") + content


def random_bytes(rng):
    return rng.randbytes(rng.randrange(1, 3000))


def torn_hello(rng):
    return HELLO[: rng.randrange(1, len(HELLO))]


def broken_hello(rng):
    hello = bytearray(HELLO)
    for _ in range(rng.randrange(1, 9)):
        hello[rng.randrange(len(hello))] = rng.randrange(256)
    return bytes(hello)


def hello_and_more(rng):
    return HELLO + rng.randbytes(rng.randrange(1, 500))


def request(rng):
    return framed(json.dumps(rng.choice(REQUESTS)).encode())


def broken_request(rng):
    content = bytearray(json.dumps(rng.choice(REQUESTS)).encode())
    content[rng.randrange(len(content))] = rng.randrange(256)
    return framed(bytes(content))


def deep_request(_):
    return framed(b"[" * 60_000)


def huge_length(rng):
    return rng.choice(
        [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff{", struct.pack("<Q", 2**62), b"\x00\x01\x00\x00"]
    )


def huge_record(rng):
    return rng.choice(
        [b"\x16\x03\x01\xff\xff", b"\x17\x03\x03\xff\xff", b"\x16\x03\x03\x00\x00"]
    ) + rng.randbytes(40)


def nothing(_):
    return b""


WORDS = [
    random_bytes,
    torn_hello,
    broken_hello,
    hello_and_more,
    request,
    broken_request,
    deep_request,
    huge_length,
    huge_record,
    nothing,
]


def knock(port, rng):
    """Say something, and go: in order, with a reset, half, or after the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(rng.choice(WORDS)(rng))
        end = rng.randrange(4)
        if end == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == 1:
            connection.shutdown(socket.SHUT_WR)
        elif end == 2:
            connection.settimeout(0.01)
            connection.recv(1000)


def show_other_secret(port, patience):
    """Go through a whole handshake with what another run's member has, if the port has one."""
    with OTHER.connect(("127.0.0.1", port), timeout=patience) as connection:
        connection.sendall(framed(b"{}"))
        connection.recv(1)


class Strangers:
    """Disturbs ports, from several threads, until `close`; counts the connections that came about."""

    def __init__(self, ports, *, patience, seed=1):
        self._ports = sorted(ports)
        self._patience = patience
        self._seed = seed
        self.connections = 0
        self._silent = []

    def stay_silent(self):
        """Connect to each port by the hundred, and stay."""
        for number in range(SILENT * len(self._ports)):
            with contextlib.suppress(OSError):
                port = self._ports[number % len(self._ports)]
                self._silent.append(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S))
                self.connections += 1

    def disturb(self, count):
        """Make so many connections."""
        with ThreadPoolExecutor(_THREADS) as pool:
            shares = pool.map(lambda part: self._share(part, count // _THREADS), range(_THREADS))
            self.connections += sum(shares)

    def _share(self, part, count):
        rng = random.Random(self._seed * 1000 + part)
        came = 0
        for number in range(count):
            port = rng.choice(self._ports)
            with contextlib.suppress(OSError):
                came += 1
                show_other_secret(port, self._patience) if number % 50 == 0 else knock(port, rng)
        return came

    def close(self):
        for connection in self._silent:
            connection.close()


def flood(ports, count, *, patience=TIMEOUT_S):
    """Disturb ports with `count` connections, of which many stay; return how many came, and the seconds.

    For a handshake's answer they wait `patience` seconds: where no port knows one, none will come.
    """
    began = time.monotonic()
    strangers = Strangers(ports, patience=patience)
    with contextlib.closing(strangers):
        strangers.stay_silent()
        strangers.disturb(count - strangers.connections)
        return strangers.connections, time.monotonic() - began
