import socket
import time
from contextlib import suppress

import pytest
import torch
from serving import CHUNK, CHUNKS, VERSION, a_peer_that_says, fetch

from curtail_dist.errors import PeerLost
from curtail_dist.state.transfer import Kept
from curtail_dist.state.version import Version


def test_bytes_without_the_hash_are_not_taken(serve):
    lying = Version(number=4, tensors={"parameter/w": torch.zeros(1000)})
    lying.__dict__["hash"] = VERSION.hash
    server = serve(lying)
    with pytest.raises(PeerLost, match="gave bytes that are not version 4"):
        fetch(server)
    assert fetch(server, serve()).hash == VERSION.hash


def test_a_liar_with_the_right_layout_spoils_nothing(serve):
    tensors = {name: one.clone() for name, one in VERSION.tensors.items()}
    tensors["parameter/w"][17] += 1
    lying = Version(number=4, tensors=tensors)
    lying.__dict__["hash"] = VERSION.hash
    honest = serve(flip_at=None)
    assert fetch(serve(lying), honest).hash == VERSION.hash


def test_a_peer_that_breaks_off_is_gone_on_from_at_another(serve):
    heads = 4000
    whole = serve(flip_at=None)
    fetch(whole)
    cut_after = whole.received // 2
    broken, other, calls = serve(cut_after=cut_after), serve(flip_at=None), []
    version = fetch(broken, other, progress=lambda: calls.append(1))
    assert version.hash == VERSION.hash
    assert broken.received == cut_after
    assert len(calls) == CHUNKS, "each chunk was pulled once"
    assert other.received < whole.received - cut_after + heads + CHUNK


def test_a_peer_that_breaks_off_again_and_again_is_enough_as_long_as_chunks_come(serve):
    broken, calls = serve(cut_after=3 * CHUNK), []
    assert fetch(broken, progress=lambda: calls.append(1)).hash == VERSION.hash
    assert len(calls) == CHUNKS
    assert broken.connections > CHUNKS // 3


def test_the_next_call_goes_on_from_what_is_kept(serve):
    kept, first, second = Kept(), [], []
    broken = serve(cut_after=6 * CHUNK, serves=1)
    with pytest.raises(PeerLost, match="broke off"):
        fetch(broken, kept=kept, progress=lambda: first.append(1))
    assert kept.received == len(first) > 0
    assert fetch(serve(), kept=kept, progress=lambda: second.append(1)).hash == VERSION.hash
    assert len(first) + len(second) == CHUNKS


def test_what_is_kept_of_another_version_is_let_go(serve):
    kept = Kept()
    other = Version(number=5, tensors={name: one + 1 for name, one in VERSION.tensors.items()})
    with pytest.raises(PeerLost):
        fetch(serve(cut_after=6 * CHUNK, serves=1), kept=kept)
    calls = []
    version = fetch(serve(other), number=5, hash=other.hash, kept=kept, progress=lambda: calls.append(1))
    assert version.hash == other.hash
    assert len(calls) == CHUNKS


def test_chunks_of_another_length_are_pulled_anew(serve):
    kept = Kept()
    with pytest.raises(PeerLost):
        fetch(serve(cut_after=6 * CHUNK, serves=1), kept=kept)
    assert fetch(serve(chunk_bytes=1000), kept=kept).hash == VERSION.hash


def test_a_corrupt_chunk_is_refused_and_pulled_from_another_peer(serve):
    calls, flipped = [], serve(flip_at=5 * CHUNK, serves=1)
    assert fetch(flipped, serve(), progress=lambda: calls.append(1)).hash == VERSION.hash
    assert len(calls) == CHUNKS


def test_a_corrupt_chunk_from_the_only_peer_is_not_taken(serve):
    with pytest.raises(PeerLost, match="does not have its hash"):
        fetch(serve(flip_at=200 + CHUNK // 2))


def test_each_peers_reason_is_named(serve):
    silent = socket.create_server(("127.0.0.1", 0))
    gone, other = serve(), serve(Version(number=9, tensors={}))
    gone.close()
    with silent, pytest.raises(PeerLost) as lost:
        fetch(gone, other, silent.getsockname(), timeout=0.3)
    reasons = str(lost.value).split("; ")
    assert len(reasons) == 3
    assert f":{gone.port} broke off" in reasons[0]
    assert "version 9 with hash" in reasons[1]
    assert "timed out" in reasons[2]


def test_a_peer_that_falls_silent_is_given_up_and_gone_on_from_at_another(serve):
    mute, calls = serve(mute_after=6 * CHUNK), []
    began = time.monotonic()
    version = fetch(mute, serve(), timeout=0.3, progress=lambda: calls.append(1))
    assert time.monotonic() - began < 5
    assert version.hash == VERSION.hash
    assert mute.received == 6 * CHUNK
    assert len(calls) == CHUNKS, "what came before the silence was not asked for again"


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
def test_nonsense_closes_the_connection_and_the_server_lives_on(serve, garbage):
    server = serve()
    with socket.create_connection(server.peer, timeout=10) as stranger:
        stranger.sendall(garbage)
        with suppress(OSError):  # the server may have turned away already
            stranger.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert stranger.recv(4096) == b""
    assert fetch(server).hash == VERSION.hash


@pytest.mark.parametrize(
    "answer", [b"\x00\x00\x00\x0d" + b'{"layout":[]}', b"\xff" * 9, b"\x00\x00\x00\x02{}"]
)
def test_a_peer_that_answers_nonsense_is_passed_over(serve, answer):
    with a_peer_that_says(answer) as odd:
        assert fetch(odd, serve()).hash == VERSION.hash
