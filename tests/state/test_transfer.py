import re
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import torch
from relay import Relay

from curtail_dist.errors import PeerLost
from curtail_dist.state import transfer
from curtail_dist.state.transfer import Kept, StateServer, probe, pull
from curtail_dist.state.version import Version
from curtail_dist.state.wire import receive_message, send_message

CHUNK = 4096
VERSION = Version(
    number=4,
    tensors={
        "parameter/w": torch.arange(5000.0),
        "parameter/none": torch.empty(0, 7),
        "parameter/scalar": torch.tensor(2.5),
        "parameter/strided": torch.arange(3000.0).view(50, 60).t(),
        "outer/w/momentum_buffer": torch.ones(5000, dtype=torch.bfloat16),
    },
)
CHUNKS = -(-VERSION.size_bytes // CHUNK)


@pytest.fixture
def make():
    """Make servers of a version, and relays in front of them."""
    with ExitStack() as stack:

        def make(version=VERSION, *, run="r", chunk_bytes=CHUNK, **faults):
            held = [version]
            server = StateServer(run=run, host="127.0.0.1", current=lambda: held[0], chunk_bytes=chunk_bytes)
            stack.enter_context(server)
            server.held = held
            server.peer = ("127.0.0.1", server.port)
            return stack.enter_context(closing(Relay(server.port, **faults))) if faults else server

        yield make


def fetch(*peers, **changes):
    wanted = {"run": "r", "number": 4, "hash": VERSION.hash, "timeout": 10.0}
    return pull([one if isinstance(one, tuple) else one.peer for one in peers], **{**wanted, **changes})


def test_a_joiner_gets_the_bytes_the_hash_names(make):
    version = fetch(make())
    assert version.number == 4
    assert version.hash == VERSION.hash
    assert {name: one.shape for name, one in version.tensors.items()} == {
        name: one.shape for name, one in VERSION.tensors.items()
    }


@pytest.mark.parametrize("chunk_bytes", [1000, 4, 19996, 1 << 20])
def test_chunks_need_not_fit_the_tensors(make, chunk_bytes):
    assert fetch(make(chunk_bytes=chunk_bytes)).hash == VERSION.hash


@pytest.mark.parametrize("tensors", [{}, {"parameter/none": torch.empty(0)}])
def test_a_version_without_a_byte_is_given_too(make, tensors):
    version = Version(number=4, tensors=tensors)
    assert fetch(make(version), hash=version.hash).hash == version.hash


@pytest.mark.parametrize("changes", [{"number": 5}, {"hash": "0" * 64}, {"run": "other"}])
def test_another_version_or_run_is_refused_with_a_reason(make, changes):
    server = make()
    with pytest.raises(
        PeerLost, match=r"does not give version .: (this is run r|version 4 with hash \w+ is held)"
    ):
        fetch(server, **changes)


def test_a_site_that_holds_nothing_yet_says_so(make):
    with pytest.raises(PeerLost, match="version none is held"):
        fetch(make(None))


def test_without_peers_there_is_an_error_too():
    with pytest.raises(PeerLost, match="no member is known"):
        fetch()


def test_bytes_without_the_hash_are_not_taken(make):
    lying = Version(number=4, tensors={"parameter/w": torch.zeros(1000)})
    lying.__dict__["hash"] = VERSION.hash
    server = make(lying)
    with pytest.raises(PeerLost, match="gave bytes that are not version 4"):
        fetch(server)
    assert fetch(server, make()).hash == VERSION.hash


def test_a_liar_with_the_right_layout_spoils_nothing(make):
    tensors = {name: one.clone() for name, one in VERSION.tensors.items()}
    tensors["parameter/w"][17] += 1
    lying = Version(number=4, tensors=tensors)
    lying.__dict__["hash"] = VERSION.hash
    honest = make(flip_at=None)
    assert fetch(make(lying), honest).hash == VERSION.hash


def test_a_peer_that_breaks_off_is_gone_on_from_at_another(make):
    heads = 4000
    whole = make(flip_at=None)
    fetch(whole)
    cut_after = whole.received // 2
    broken, other, calls = make(cut_after=cut_after), make(flip_at=None), []
    version = fetch(broken, other, progress=lambda: calls.append(1))
    assert version.hash == VERSION.hash
    assert broken.received == cut_after
    assert len(calls) == CHUNKS, "each chunk was pulled once"
    assert other.received < whole.received - cut_after + heads + CHUNK


def test_a_peer_that_breaks_off_again_and_again_is_enough_as_long_as_chunks_come(make):
    broken, calls = make(cut_after=3 * CHUNK), []
    assert fetch(broken, progress=lambda: calls.append(1)).hash == VERSION.hash
    assert len(calls) == CHUNKS
    assert broken.connections > CHUNKS // 3


def test_the_next_call_goes_on_from_what_is_kept(make):
    kept, first, second = Kept(), [], []
    broken = make(cut_after=6 * CHUNK, serves=1)
    with pytest.raises(PeerLost, match="broke off"):
        fetch(broken, kept=kept, progress=lambda: first.append(1))
    assert kept.received == len(first) > 0
    assert fetch(make(), kept=kept, progress=lambda: second.append(1)).hash == VERSION.hash
    assert len(first) + len(second) == CHUNKS


def test_what_is_kept_of_another_version_is_let_go(make):
    kept = Kept()
    other = Version(number=5, tensors={name: one + 1 for name, one in VERSION.tensors.items()})
    with pytest.raises(PeerLost):
        fetch(make(cut_after=6 * CHUNK, serves=1), kept=kept)
    calls = []
    version = fetch(make(other), number=5, hash=other.hash, kept=kept, progress=lambda: calls.append(1))
    assert version.hash == other.hash
    assert len(calls) == CHUNKS


def test_chunks_of_another_length_are_pulled_anew(make):
    kept = Kept()
    with pytest.raises(PeerLost):
        fetch(make(cut_after=6 * CHUNK, serves=1), kept=kept)
    assert fetch(make(chunk_bytes=1000), kept=kept).hash == VERSION.hash


def test_a_corrupt_chunk_is_refused_and_pulled_from_another_peer(make):
    calls, flipped = [], make(flip_at=5 * CHUNK, serves=1)
    assert fetch(flipped, make(), progress=lambda: calls.append(1)).hash == VERSION.hash
    assert len(calls) == CHUNKS


def test_a_corrupt_chunk_from_the_only_peer_is_not_taken(make):
    with pytest.raises(PeerLost, match="does not have its hash"):
        fetch(make(flip_at=200 + CHUNK // 2))


def test_each_peers_reason_is_named(make):
    silent = socket.create_server(("127.0.0.1", 0))
    gone, other = make(), make(Version(number=9, tensors={}))
    gone.close()
    with silent, pytest.raises(PeerLost) as lost:
        fetch(gone, other, silent.getsockname(), timeout=0.3)
    reasons = str(lost.value).split("; ")
    assert len(reasons) == 3
    assert f":{gone.port} broke off" in reasons[0]
    assert "version 9 with hash" in reasons[1]
    assert "timed out" in reasons[2]


def test_a_peer_that_falls_silent_is_given_up_and_gone_on_from_at_another(make):
    mute, calls = make(mute_after=6 * CHUNK), []
    version = fetch(mute, make(), timeout=0.3, progress=lambda: calls.append(1))
    assert version.hash == VERSION.hash
    assert mute.received == 6 * CHUNK
    assert len(calls) == CHUNKS, "what came before the silence was not asked for again"


def test_a_version_that_moves_on_while_it_is_pulled_is_still_given_whole(make):
    large = Version(number=4, tensors={"parameter/w": torch.arange(2.0**23)})
    server = make(large, chunk_bytes=1 << 16)
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
def test_a_joiner_of_another_schema_is_told_so(make, want):
    with socket.create_connection(make().peer, timeout=10) as other:
        request = {"schema": transfer.SCHEMA - 1, "run": "r", "want": want, "number": 4, "hash": VERSION.hash}
        send_message(other, request)
        answer = receive_message(other, limit_bytes=1000, within=10)
    assert answer == {"no": f"this is run r, schema {transfer.SCHEMA}"}


@pytest.mark.parametrize("answer", [b"\x00\x00\x00\x0c" + b'{"no":"odd"}', b"\xff" * 9, b""])
def test_a_probe_takes_no_other_answer_for_yes(answer):
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def say():
            connection, _ = odd.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        assert not probe(*odd.getsockname(), run="r", timeout=5.0)
        thread.join(timeout=10)


def test_several_joiners_are_served_at_once(make):
    server, got = make(), []
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


def test_chunks_are_hashed_once_for_all_joiners(make, monkeypatch):
    hashed = []
    digest = transfer.Layout.digest

    def count(layout, index):
        hashed.append(index)
        return digest(layout, index)

    monkeypatch.setattr(transfer.Layout, "digest", count)
    server = make()
    fetch(server)
    fetch(server)
    assert sorted(hashed) == list(range(CHUNKS))


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff garbage\n",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\xff\xff" + b"[" * 0xFFFF,
        b"\x00\x00\x00\x04\xff\xff\xff\xff",
        b'\x00\x00\x00\x2a{"schema":3,"run":"r","want":[],"number":{}}',
    ],
)
def test_nonsense_closes_the_connection_and_the_server_lives_on(make, garbage):
    server = make()
    with socket.create_connection(server.peer, timeout=10) as stranger:
        stranger.sendall(garbage)
        stranger.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert stranger.recv(4096) == b""
    assert fetch(server).hash == VERSION.hash


def test_more_connections_than_are_served_are_turned_away(make, monkeypatch):
    monkeypatch.setattr(transfer, "_CONNECTIONS", 2)
    monkeypatch.setattr(transfer, "_REQUEST_S", 60.0)
    server = make()
    with ExitStack() as strangers:
        for _ in range(2):
            strangers.enter_context(socket.create_connection(server.peer, timeout=10))
        with socket.create_connection(server.peer, timeout=10) as third:
            assert third.recv(1) == b""
    while True:
        try:
            assert fetch(server).hash == VERSION.hash
            break
        except PeerLost:
            continue  # the strangers' threads have yet to see that they are gone


@pytest.mark.parametrize(
    "answer", [b"\x00\x00\x00\x0d" + b'{"layout":[]}', b"\xff" * 9, b"\x00\x00\x00\x02{}"]
)
def test_a_peer_that_answers_nonsense_is_passed_over(make, answer):
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def say():
            connection, _ = odd.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        assert fetch(odd.getsockname(), make()).hash == VERSION.hash
        thread.join(timeout=10)


def test_a_probe_says_who_answers_for_the_run(make):
    server = make()
    assert probe("127.0.0.1", server.port, run="r", timeout=5.0)
    assert not probe("127.0.0.1", server.port, run="other", timeout=5.0)
    assert probe("127.0.0.1", make(None).port, run="r", timeout=5.0), "a site without a state is there, too"
    server.close()
    assert not probe("127.0.0.1", server.port, run="r", timeout=5.0)


def test_a_probe_does_not_wait_longer_than_it_may():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not probe("127.0.0.1", silent.getsockname()[1], run="r", timeout=0.2)


def test_close_ends_transfers_under_way_and_is_idempotent(make):
    server = make(Version(number=4, tensors={"parameter/w": torch.zeros(1 << 23)}))
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
    assert server < 0.6 * state, "serving adds chunks, not a copy"
    assert joiner < 1.6 * state, "pulling takes the state once, not twice"
