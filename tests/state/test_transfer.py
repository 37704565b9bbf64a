import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from serving import CHUNKS, VERSION, a_peer_that_says, fetch

from curtail_dist.errors import PeerLost
from curtail_dist.security import PlainWire
from curtail_dist.state import transfer
from curtail_dist.state.knock import probe, refuses, tie
from curtail_dist.state.transfer import Kept
from curtail_dist.state.version import Version
from curtail_dist.state.wire import receive_message, send_message


def test_a_joiner_gets_the_bytes_the_hash_names(serve):
    version = fetch(serve())
    assert version.number == 4
    assert version.hash == VERSION.hash
    assert {name: one.shape for name, one in version.tensors.items()} == {
        name: one.shape for name, one in VERSION.tensors.items()
    }


@pytest.mark.parametrize("chunk_bytes", [1000, 4, 19996, 1 << 20])
def test_chunks_need_not_fit_the_tensors(serve, chunk_bytes):
    assert fetch(serve(chunk_bytes=chunk_bytes)).hash == VERSION.hash


@pytest.mark.parametrize("tensors", [{}, {"parameter/none": torch.empty(0)}])
def test_a_version_without_a_byte_is_given_too(serve, tensors):
    version = Version(number=4, tensors=tensors)
    assert fetch(serve(version), hash=version.hash).hash == version.hash


@pytest.mark.parametrize("changes", [{"number": 5}, {"hash": "0" * 64}, {"run": "other"}])
def test_another_version_or_run_is_refused_with_a_reason(serve, changes):
    server = serve()
    with pytest.raises(
        PeerLost, match=r"does not give version .: (this is run r|version 4 with hash \w+ is held)"
    ):
        fetch(server, **changes)


def test_a_site_that_holds_nothing_yet_says_so(serve):
    with pytest.raises(PeerLost, match="version none is held"):
        fetch(serve(None))


def test_without_peers_there_is_an_error_too():
    with pytest.raises(PeerLost, match="no member is known"):
        fetch()


def test_a_version_that_moves_on_while_it_is_pulled_is_still_given_whole(serve):
    large = Version(number=4, tensors={"parameter/w": torch.arange(2.0**23)})
    server = serve(large, chunk_bytes=1 << 16)
    following = Version(number=5, tensors={"parameter/w": large.tensors["parameter/w"] + 1})
    moved = []

    def move_on():
        moved.append(1)
        server.held[0] = following

    assert fetch(server, hash=large.hash, progress=move_on).hash == large.hash
    assert len(moved) == 2**25 // 2**16
    with pytest.raises(PeerLost, match="version 5 with hash"):
        fetch(server, hash=large.hash)
    assert fetch(server, number=5, hash=following.hash).hash == following.hash


@pytest.mark.parametrize("want", ["answer", "version"])
def test_a_joiner_of_another_schema_is_told_so(serve, want):
    with socket.create_connection(serve().peer, timeout=10) as other:
        request = {"schema": transfer.SCHEMA - 1, "run": "r", "want": want, "number": 4, "hash": VERSION.hash}
        send_message(other, request)
        answer = receive_message(other, limit_bytes=1000, within=10)
    assert answer == {"no": f"this is run r, schema {transfer.SCHEMA}"}


@pytest.mark.parametrize("answer", [b"\x00\x00\x00\x0c" + b'{"no":"odd"}', b"\xff" * 9, b""])
def test_a_probe_takes_no_other_answer_for_yes(answer):
    with a_peer_that_says(answer) as odd:
        assert not probe(*odd, run="r", wire=PlainWire(), timeout=5.0)


def test_several_joiners_are_served_at_once(serve):
    server, got = serve(), []
    everyone = threading.Barrier(6, timeout=20)
    first = threading.local()

    def join():
        def meet():
            if not hasattr(first, "chunk"):
                first.chunk = True
                everyone.wait()

        got.append(fetch(server, progress=meet).hash)

    joiners = [threading.Thread(target=join) for _ in range(6)]
    for joiner in joiners:
        joiner.start()
    for joiner in joiners:
        joiner.join(timeout=30)
    assert got == [VERSION.hash] * 6


def test_chunks_are_hashed_once_for_all_joiners(serve, monkeypatch):
    hashed = []
    digest = transfer.Layout.digest

    def count(layout, index):
        hashed.append(index)
        return digest(layout, index)

    monkeypatch.setattr(transfer.Layout, "digest", count)
    server = serve()
    fetch(server)
    fetch(server)
    assert sorted(hashed) == list(range(CHUNKS))


def test_more_connections_than_are_served_are_turned_away(serve, monkeypatch):
    monkeypatch.setattr(transfer, "_CONNECTIONS", 2)
    server = serve()

    def tied():
        return tie(*server.peer, run="r", wire=PlainWire(), timeout=10)

    with ExitStack() as members:
        for _ in range(2):
            members.enter_context(tied())
        assert tied() is None
    while True:
        try:
            assert fetch(server).hash == VERSION.hash
            break
        except PeerLost:
            continue  # the members' threads have yet to see that they are gone


@pytest.mark.parametrize(
    "message",
    [
        {"schema": 3, "run": "r", "want": "file", "sha256": "0" * 64, "start": float("inf")},
        {"schema": 3, "run": "r", "want": "version", "number": [], "hash": {}},
        {"schema": 3, "run": "r"},
        {"schema": [1], "run": None, "want": "tether"},
        {},
    ],
)
def test_a_request_that_makes_no_sense_harms_nobody(serve, message):
    server = serve()
    with socket.create_connection(server.peer, timeout=10) as odd:
        send_message(odd, message)
        while odd.recv(1000):
            pass
    assert fetch(server).hash == VERSION.hash


def test_a_version_that_is_announced_with_more_than_it_can_have_is_not_pulled(serve):
    kept = Kept(most_bytes=VERSION.size_bytes - 1)
    with pytest.raises(PeerLost, match="is described where there can be"):
        fetch(serve(), kept=kept)
    assert fetch(serve(), kept=Kept(most_bytes=VERSION.size_bytes)).hash == VERSION.hash


def test_a_probe_says_who_answers_for_the_run(serve):
    server = serve()
    assert probe("127.0.0.1", server.port, run="r", wire=PlainWire(), timeout=5.0)
    assert not probe("127.0.0.1", server.port, run="other", wire=PlainWire(), timeout=5.0)
    assert probe("127.0.0.1", serve(None).port, run="r", wire=PlainWire(), timeout=5.0), (
        "a site without a state is there, too"
    )
    server.close()
    assert not probe("127.0.0.1", server.port, run="r", wire=PlainWire(), timeout=5.0)


def test_a_host_refuses_only_where_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not refuses("127.0.0.1", port, timeout=5.0), "it takes connections, and says nothing"
    assert refuses("127.0.0.1", port, timeout=5.0)


def test_a_probe_does_not_wait_longer_than_it_may():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not probe("127.0.0.1", silent.getsockname()[1], run="r", wire=PlainWire(), timeout=0.2)


def test_close_ends_transfers_under_way_and_is_idempotent(serve):
    server = serve(Version(number=4, tensors={"parameter/w": torch.zeros(1 << 23)}))
    before = threading.active_count()
    with socket.create_connection(server.peer, timeout=10) as idle:
        transfer.send_message(
            idle,
            {
                "schema": transfer.SCHEMA,
                "run": "r",
                "want": "version",
                "number": 4,
                "hash": server.held[0].hash,
            },
        )
        assert transfer.receive_message(idle, limit_bytes=10_000, within=10)["layout"]
        server.close()
        server.close()
        assert threading.active_count() == before - 1
        assert not [thread for thread in threading.enumerate() if re.match("state-server", thread.name)]


@pytest.mark.slow
def test_neither_side_needs_a_second_copy_of_the_state():
    program = Path(__file__).with_name("peak.py")
    root = Path(transfer.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, program], check=True, timeout=55, capture_output=True, text=True, cwd=root
    )
    state, server, joiner = map(int, done.stdout.split())
    assert state == 200 * 2**20
    assert server < 0.3 * state, "serving adds chunks, not a copy"
    assert joiner < 1.3 * state, "pulling takes the state once, not twice"
