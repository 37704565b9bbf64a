import hashlib
import http.server
import threading
from contextlib import contextmanager, suppress

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from serving import a_peer_that_says

from curtail_dist.data.obtain import Wanted, obtain
from curtail_dist.errors import DataError
from curtail_dist.security import PlainWire
from curtail_dist.state.sources import PeerSource, UrlSource
from curtail_dist.state.transfer import StateServer

BYTES = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(BYTES).hexdigest()
NAME = "part one/0.parquet"


@pytest.fixture
def wanted(tmp_path):
    path = tmp_path / "here" / "0.parquet"
    return Wanted(path=path, file=NAME, sha256=SHA256, limit_bytes=10**7)


def read(source, wanted, start=0):
    return b"".join(source.read(wanted, start))


@pytest.fixture
def server(tmp_path):
    there = tmp_path / "there.parquet"
    there.write_bytes(BYTES)
    files = {SHA256: there}
    with StateServer(
        run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None, file_of=files.get
    ) as server:
        yield server


def peer(server, run="r"):
    return PeerSource("127.0.0.1", server.port, run=run, wire=PlainWire(), timeout=10.0)


def test_a_site_gives_a_file_by_its_hash_from_any_byte_on(server, wanted):
    assert read(peer(server), wanted) == BYTES
    assert read(peer(server), wanted, 1_234_567) == BYTES[1_234_567:]
    assert read(peer(server), wanted, len(BYTES)) == b""


def test_a_site_gives_no_file_that_it_did_not_name(server, wanted, tmp_path):
    other = Wanted(path=wanted.path, file=NAME, sha256="/etc/passwd", limit_bytes=10**7)
    with pytest.raises(OSError, match="does not have that file"):
        read(peer(server), other)
    (tmp_path / "there.parquet").unlink()
    with pytest.raises(OSError, match="does not have that file"):
        read(peer(server), wanted)


def test_another_run_gives_nothing(server, wanted):
    with pytest.raises(OSError, match="this is run r"):
        read(peer(server, "other"), wanted)


@pytest.mark.parametrize("start", [-1, 10**12, "x", None])
def test_a_garbled_request_ends_one_connection_and_no_more(server, wanted, start):
    with suppress(OSError, TypeError, ValueError):
        list(peer(server).read(wanted, start))
    assert read(peer(server), wanted) == BYTES


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\2{}", b"\0\0\0\x0e" + b'{"bytes": "9"}', b"HTTP/1.1 400"])
def test_a_peer_that_is_no_state_server_is_an_error(wanted, answer):
    with a_peer_that_says(answer) as (host, port), pytest.raises((OSError, ValueError)):
        read(PeerSource(host, port, run="r", wire=PlainWire(), timeout=10.0), wanted)


def test_a_peer_that_breaks_off_is_gone_on_from(server, wanted):
    cut = b'{"bytes": %d}' % len(BYTES)
    with a_peer_that_says(len(cut).to_bytes(4, "big") + cut + BYTES[:100_000]) as (host, port):
        broken = PeerSource(host, port, run="r", wire=PlainWire(), timeout=10.0)
        what = obtain(wanted, [broken, peer(server)], progress=lambda: None)
    assert what.came_bytes < len(BYTES), "the beginning came from the other"
    assert wanted.path.read_bytes() == BYTES


class Handler(http.server.BaseHTTPRequestHandler):
    ranges = True
    cut: int | None = None
    seen: list[str | None]

    def do_GET(self):
        asked = self.headers.get("Range")
        self.seen.append(asked)
        if self.path != "/base/part%20one/0.parquet":
            self.send_error(404)
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if first >= len(BYTES):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(BYTES) - first))
        self.end_headers()
        self.wfile.write(BYTES[first : self.cut])
        type(self).cut = None

    def log_message(self, *_):
        pass


@contextmanager
def web(**changes):
    handler = type("Changed", (Handler,), {"seen": [], **changes})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/base/", handler
        finally:
            server.shutdown()
            thread.join(timeout=10)


def test_a_web_server_gives_files_below_an_address(wanted):
    with web() as (address, handler):
        source = UrlSource(address, timeout=10.0)
        assert read(source, wanted) == BYTES
        assert read(source, wanted, 77) == BYTES[77:]
        assert read(source, wanted, len(BYTES)) == b""
    assert handler.seen == [None, "bytes=77-", f"bytes={len(BYTES)}-"]


def test_of_a_server_without_ranges_the_beginning_is_dropped(wanted):
    with web(ranges=False) as (address, _):
        assert read(UrlSource(address, timeout=10.0), wanted, 3_000_001) == BYTES[3_000_001:]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"no status\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
def test_a_web_server_that_breaks_off_or_is_none_gives_way_to_the_next_source(server, wanted, answer):
    with a_peer_that_says(answer) as (host, port):
        broken = UrlSource(f"http://{host}:{port}/base", timeout=10.0)
        obtain(wanted, [broken, peer(server)], progress=lambda: None)
    assert wanted.path.read_bytes() == BYTES


def test_a_download_that_broke_off_is_gone_on_with(wanted):
    with web(cut=2_000_000) as (address, handler):
        source = UrlSource(address, timeout=10.0)
        with pytest.raises(DataError, match="ended 3120000 bytes early"):
            obtain(wanted, [source], progress=lambda: None)
        obtain(wanted, [source], progress=lambda: None)
    assert handler.seen == [None, "bytes=2000000-"]
    assert wanted.path.read_bytes() == BYTES


def test_an_address_without_the_file_says_what_the_server_says(wanted):
    with web() as (address, _), pytest.raises(DataError, match=r"other/part%20one/0\.parquet answers 404"):
        obtain(wanted, [UrlSource(address + "other", timeout=10.0)], progress=lambda: None)


def test_a_server_that_is_not_there_is_an_error(wanted):
    with web() as (address, _):
        pass
    with pytest.raises(OSError):
        read(UrlSource(address, timeout=10.0), wanted)


def test_a_directory_and_what_fsspec_opens_are_addresses_too(wanted, tmp_path):
    place = tmp_path / "copy" / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(BYTES)
    MemoryFileSystem().pipe(f"/bucket/{NAME}", BYTES)
    for address in (str(tmp_path / "copy"), f"file://{tmp_path}/copy", "memory://bucket"):
        source = UrlSource(address, timeout=10.0)
        assert read(source, wanted) == BYTES
        assert read(source, wanted, 5) == BYTES[5:]
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize("address", ["memory://nothing", "/nowhere/at/all", "gopher://host"])
def test_an_address_that_cannot_be_opened_is_an_os_error(wanted, address):
    with pytest.raises(OSError):
        read(UrlSource(address, timeout=10.0), wanted)
