import socket

import pytest
import torch

from curtail_dist.errors import PeerLost
from curtail_dist.state.transfer import StateServer, pull
from curtail_dist.state.version import Version

VERSION = Version(
    number=4, tensors={"parameter/w": torch.arange(1000.0), "outer/w/momentum_buffer": torch.ones(1000)}
)


@pytest.fixture
def server():
    held = [VERSION]
    with StateServer(run="r", host="127.0.0.1", current=lambda: held[0]) as server:
        server.held = held
        yield server


def fetch(server, **changes):
    wanted = {
        "run": "r",
        "host": "127.0.0.1",
        "port": server.port,
        "number": 4,
        "hash": VERSION.hash,
        "timeout": 5.0,
    }
    return pull(**{**wanted, **changes})


def test_a_joiner_gets_the_bytes_the_hash_names(server):
    assert fetch(server).hash == VERSION.hash


@pytest.mark.parametrize("changes", [{"number": 5}, {"hash": "0" * 64}, {"run": "other"}])
def test_another_version_or_run_is_refused_with_a_reason(server, changes):
    with pytest.raises(PeerLost, match="does not give version"):
        fetch(server, **changes)


def test_bytes_without_the_hash_are_not_taken(server):
    lying = Version(number=4, tensors={"parameter/w": torch.zeros(1000)})
    lying.__dict__["hash"] = VERSION.hash
    server.held[0] = lying
    with pytest.raises(PeerLost, match="gave bytes that are not version 4"):
        fetch(server)


def test_nonsense_closes_the_connection_and_the_server_lives_on(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as stranger:
        stranger.sendall(b"\x00\xff garbage\n")
        assert stranger.recv(4096) == b""
    assert fetch(server).hash == VERSION.hash


def test_a_peer_that_is_gone_is_lost(server):
    server.close()
    with pytest.raises(PeerLost, match="broke off"):
        fetch(server)


def test_close_is_idempotent(server):
    server.close()
    server.close()
