"""Who may speak on the wire of a run with a secret, and who may listen to it."""

import os
import select
import socket
import ssl
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime

import pytest
import torch
from cryptography import x509
from middle import Middle

from curtail_dist.data.obtain import Wanted
from curtail_dist.errors import PeerLost
from curtail_dist.membership.records import Member
from curtail_dist.outer.meeting import StreamMeeting
from curtail_dist.outer.streams import form_streams
from curtail_dist.runtime.tether import Tethers
from curtail_dist.security import PlainWire
from curtail_dist.security.authority import make_credentials
from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire, _context
from curtail_dist.state.knock import probe, tie
from curtail_dist.state.sources import PeerSource
from curtail_dist.state.transfer import StateServer, pull
from curtail_dist.state.version import Version

SECRET, OTHER = RunSecret(b"s" * 32), RunSecret(b"t" * 32)
TIMEOUT_S = 10.0
MARK = b"the words of a document that nobody else may read"
VERSION = Version(
    number=3, tensors={"parameter/w": torch.frombuffer(bytearray(MARK * 40), dtype=torch.uint8)}
)
STRANGERS = {
    "no secret": PlainWire(),
    "another secret": SecretWire(OTHER, "r"),
    "another run": SecretWire(SECRET, "q"),
}


@pytest.fixture(scope="module")
def wire():
    return SecretWire(SECRET, "r")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(MARK * 3)
    return path


@pytest.fixture
def serve(file):
    @contextmanager
    def serve(wire):
        with StateServer(
            run="r",
            host="127.0.0.1",
            wire=wire,
            current=lambda: VERSION,
            file_of=lambda _: file,
        ) as server:
            yield server

    return serve


@pytest.fixture
def server(serve, wire):
    with serve(wire) as server:
        yield server


def fetch(port, wire, timeout=TIMEOUT_S):
    return pull([("127.0.0.1", port)], run="r", wire=wire, number=3, hash=VERSION.hash, timeout=timeout)


def read_file(port, wire, tmp_path):
    wanted = Wanted(path=tmp_path / "x", file="x", sha256="0" * 64, limit_bytes=10**6)
    return b"".join(PeerSource("127.0.0.1", port, run="r", wire=wire, timeout=TIMEOUT_S).read(wanted, 0))


@contextmanager
def accepting(wire, timeout=TIMEOUT_S):
    """Accept one connection by the wire; yield its address and what becomes of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def accept():
            connection, _ = listening.accept()
            return wire.accept(connection, timeout=timeout)

        yield listening.getsockname(), pool.submit(accept)


def test_who_knows_the_secret_gets_state_files_and_answers(server, wire, tmp_path):
    assert probe("127.0.0.1", server.port, run="r", wire=wire, timeout=TIMEOUT_S)
    assert fetch(server.port, wire).hash == VERSION.hash
    assert read_file(server.port, SecretWire(SECRET, "r"), tmp_path) == MARK * 3


@pytest.mark.parametrize("who", STRANGERS)
def test_who_does_not_know_it_gets_nothing(server, who, tmp_path):
    wire = STRANGERS[who]
    assert not probe("127.0.0.1", server.port, run="r", wire=wire, timeout=TIMEOUT_S)
    assert tie("127.0.0.1", server.port, run="r", wire=wire, timeout=TIMEOUT_S) is None
    with pytest.raises(PeerLost):
        fetch(server.port, wire)
    with pytest.raises(OSError):
        read_file(server.port, wire, tmp_path)


@pytest.mark.parametrize("who", STRANGERS)
def test_nothing_is_taken_from_who_does_not_know_it(serve, wire, who):
    with serve(STRANGERS[who]) as impostor:
        assert not probe("127.0.0.1", impostor.port, run="r", wire=wire, timeout=TIMEOUT_S)
        with pytest.raises(PeerLost):
            fetch(impostor.port, wire)


def test_a_member_is_told_what_is_wrong_with_its_secret(server):
    with pytest.raises(PeerLost, match=r"does not prove that it belongs.*secret must be the same"):
        fetch(server.port, STRANGERS["another secret"])


@pytest.mark.parametrize("secure", [True, False])
def test_what_is_pulled_passes_the_network_hidden(serve, wire, secure):
    """And without a secret it does not, so that this test can see it."""
    wire = wire if secure else PlainWire()
    with serve(wire) as server, closing(Middle(server.port)) as middle:
        assert fetch(middle.address[1], wire).hash == VERSION.hash
        assert len(middle.heard) > VERSION.size_bytes
        for word in (MARK, b"parameter/w", b"tensors", VERSION.hash.encode()):
            assert (word in middle.heard) is not secure


@pytest.mark.parametrize("secure", [True, False])
def test_what_a_group_exchanges_passes_the_network_hidden(wire, secure):
    wire = wire if secure else PlainWire()
    given = [torch.frombuffer(bytearray(MARK * times), dtype=torch.uint8) for times in (300, 500)]
    sizes = [payload.numel() for payload in given]
    meetings = [StreamMeeting("127.0.0.1", wire) for _ in given]
    with (
        closing(meetings[0]),
        closing(meetings[1]),
        closing(Middle(meetings[0].port)) as middle,
        ThreadPoolExecutor(2) as pool,
    ):

        def take_part(rank):
            exchange = form_streams(
                name="r/1",
                rank=rank,
                size=2,
                meeting=meetings[rank],
                peers=[middle.address, ("127.0.0.1", meetings[1].port)],
                timeout=TIMEOUT_S,
                alive=lambda _: True,
                wire=wire,
            )
            with closing(exchange):
                return exchange.gather(given[rank], sizes)

        for got in pool.map(take_part, range(2)):
            assert all(map(torch.equal, got, given))
    assert len(middle.heard) > sum(sizes)
    for word in (MARK, b"caller"):
        assert (word in middle.heard) is not secure


class Impostor:
    """A wire of who has no secret and makes an authority up, whose leaf even has the right names."""

    secure = True

    def __init__(self):
        made = make_credentials(OTHER, "r")
        self._giving, self._asking = (
            _context(kind, made) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
        )
        self._giving.verify_mode = self._asking.verify_mode = ssl.CERT_NONE

    def accept(self, connection, *, timeout):
        connection.settimeout(timeout)
        return self._giving.wrap_socket(connection, server_side=True)

    def connect(self, address, *, timeout):
        return self._asking.wrap_socket(socket.create_connection(address, timeout=timeout))


def test_a_man_in_the_middle_with_a_certificate_of_his_own_is_refused_by_the_one_who_connects(wire):
    with accepting(Impostor()) as (address, accepted):
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            wire.connect(address, timeout=TIMEOUT_S)
        assert isinstance(accepted.exception(TIMEOUT_S), OSError)


def test_a_man_in_the_middle_with_a_certificate_of_his_own_is_refused_by_the_one_who_accepts(wire):
    with accepting(wire) as (address, accepted):
        with Impostor().connect(address, timeout=TIMEOUT_S) as middle, pytest.raises(OSError):
            middle.sendall(b"let me in")
            if not middle.recv(1):
                raise ConnectionError("closed")
        assert isinstance(accepted.exception(TIMEOUT_S), ssl.SSLError)


def test_who_shows_no_certificate_is_refused(wire):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    with accepting(wire) as (address, accepted), socket.create_connection(address) as connection:
        stranger = bare.wrap_socket(connection)  # for whom all seems well until something is to be read
        assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(accepted.exception(TIMEOUT_S))
        with pytest.raises(ssl.SSLError, match="certificate required"):
            stranger.recv(1)
        stranger.close()


def test_older_versions_of_tls_are_refused(wire):
    old = _context(ssl.PROTOCOL_TLS_CLIENT, make_credentials(SECRET, "r"))
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with accepting(wire) as (address, accepted), socket.create_connection(address) as connection:
        with pytest.raises(OSError):
            old.wrap_socket(connection)
        assert isinstance(accepted.exception(TIMEOUT_S), ssl.SSLError)


def test_who_says_its_hello_a_byte_at_a_time_is_cut_off_in_time(wire):
    began = time.monotonic()
    with accepting(wire, timeout=0.5) as (address, accepted), socket.create_connection(address) as slow:
        while not accepted.done():
            assert time.monotonic() - began < TIMEOUT_S
            with suppress(OSError):
                for byte in b"\x16\x03\x01\x02\x00\x01" + bytes(600):
                    slow.send(bytes([byte]))
                    if accepted.done():
                        break
                    time.sleep(0.02)
        assert isinstance(accepted.exception(), TimeoutError)
    assert time.monotonic() - began < 5


def test_a_connection_on_which_nothing_was_said_is_not_readable(wire):
    with (
        accepting(wire) as (address, accepted),
        wire.connect(address, timeout=TIMEOUT_S) as asking,
        accepted.result(TIMEOUT_S) as giving,
    ):
        assert not select.select([asking, giving], [], [], 0.2)[0]


def test_a_tether_by_the_secure_wire_breaks_when_the_process_ends(serve, wire):
    with serve(wire) as server:
        one = Member(site="a", incarnation="a", host="127.0.0.1", group_port=1, state_port=server.port)
        with closing(Tethers([one], run="r", wire=wire)) as tethers:
            assert not tethers.broken(one)
            server.close()
            deadline = time.monotonic() + TIMEOUT_S
            while not tethers.broken(one):
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_the_private_key_is_left_in_no_file_and_in_no_repr(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a directory of the kernel
    SecretWire(SECRET, "r")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert not list(tmp_path.iterdir())
    made = make_credentials(SECRET, "r")
    assert b"PRIVATE KEY" in made.leaf
    assert "PRIVATE" not in repr(made)


def test_where_files_in_memory_are_not_to_be_had_a_private_one_stands_for_a_moment(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create")
    seen = []
    real = ssl.SSLContext.load_cert_chain

    def load(self, path):
        seen.append((os.stat(path).st_mode & 0o777, os.stat(os.path.dirname(path)).st_mode & 0o777))  # noqa: PTH116, PTH120
        real(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    wire = SecretWire(SECRET, "r")
    assert seen == [(0o600, 0o700)] * 2
    assert not list(tmp_path.iterdir())
    with accepting(wire) as (address, accepted), wire.connect(address, timeout=TIMEOUT_S):
        accepted.result(TIMEOUT_S).close()


def test_what_a_host_takes_for_the_time_decides_nothing():
    made = make_credentials(SECRET, "r")
    for pem in (made.authority.encode(), made.leaf):
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
        assert certificate.not_valid_after_utc.year == 9999


def test_many_connections_at_once_are_told_apart(server, wire):
    with ThreadPoolExecutor(16) as pool:
        wires = [wire if number % 2 else STRANGERS["another secret"] for number in range(40)]
        asked = pool.map(
            lambda one: probe("127.0.0.1", server.port, run="r", wire=one, timeout=TIMEOUT_S), wires
        )
        assert list(asked) == [bool(number % 2) for number in range(40)]
    assert threading.active_count() < 100
