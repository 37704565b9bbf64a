"""What a Gloo group does when a member dies, hangs, or does not come. The peers are real processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from losing import Watched, lose

from curtail_dist.errors import PeerLost
from curtail_dist.outer.gloo import GroupStore, form

HOST = "127.0.0.1"
PEER = Path(__file__).with_name("gloo_peer.py")
NOTICED_S = 2.0
BIG = 64 << 20
"""More than the sockets between two processes hold."""

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(scope="module")
def store():
    return GroupStore(HOST)


class Pair:
    """This process, rank 0, and one peer."""

    def __init__(self, store, name):
        self.alive = Watched()
        command = [sys.executable, str(PEER), HOST, str(store.port), name, "1", "2"]
        self.peer = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.member = form(
            name=name,
            rank=0,
            size=2,
            host=HOST,
            meet=(HOST, store.port),
            timeout=60.0,
            alive=self.alive,
        )
        assert self.read() == "ready"

    def read(self):
        return self.peer.stdout.readline().strip()

    def tell(self, *sizes):
        print(*sizes, file=self.peer.stdin, flush=True)

    def gather(self, *sizes):
        return self.member.gather(torch.zeros(sizes[0], dtype=torch.uint8), sizes)

    def lose(self, do, *sizes):
        return lose(lambda: self.gather(*sizes), self.alive, do)

    def close(self):
        self.peer.kill()
        self.peer.communicate()
        self.member.close()


@pytest.fixture
def pair(store, request):
    pair = Pair(store, request.node.name)
    yield pair
    pair.close()


def test_a_peer_that_is_killed_while_it_is_waited_for_is_noticed_at_once(pair):
    pair.tell(5, 5)
    assert len(pair.gather(5, 5)) == 2
    assert pair.read() == "done"
    error, took = pair.lose(pair.peer.kill, 5, 5)
    assert pair.peer.wait(10) == -signal.SIGKILL
    assert "connection" in str(error)
    assert took < NOTICED_S


def test_a_peer_that_is_killed_in_the_middle_of_a_large_payload_is_noticed_at_once(pair):
    pair.tell(0, BIG)
    pair.peer.send_signal(signal.SIGSTOP)  # it gets no further than its first packets
    error, took = pair.lose(pair.peer.kill, 0, BIG)
    assert pair.peer.wait(10) == -signal.SIGKILL
    assert "connection" in str(error)
    assert took < NOTICED_S


def test_a_stopped_peer_is_left_when_its_lease_is_gone_and_closing_does_not_wait_for_it(pair):
    pair.peer.send_signal(signal.SIGSTOP)
    error, took = pair.lose(lambda: pair.alive.gone.add(1), 5, 5)
    assert str(error) == "rank 1 has ended, or holds no lease any more"
    assert took < NOTICED_S
    assert pair.peer.poll() is None, "the peer was stopped, not dead"
    began = time.monotonic()
    pair.member.close()
    assert time.monotonic() - began < NOTICED_S


def join(store, *, rank=0, timeout=30.0, alive=lambda rank: True, name):
    meet = (HOST, store.port)
    return form(name=name, rank=rank, size=2, host=HOST, meet=meet, timeout=timeout, alive=alive)


def test_a_peer_that_does_not_come_counts_as_lost(store):
    with pytest.raises(PeerLost, match=r"ranks \[1\] did not come to group nobody within 0.3 s"):
        join(store, timeout=0.3, name="nobody")


def test_a_peer_that_loses_its_lease_on_the_way_is_not_waited_for(store):
    began = time.monotonic()
    with pytest.raises(PeerLost, match="rank 1 lost its lease before it came to group late"):
        join(store, alive=lambda rank: rank == 0, name="late")
    assert time.monotonic() - began < NOTICED_S


def test_a_meeting_place_that_is_gone_counts_as_a_lost_peer():
    with pytest.raises(PeerLost, match="group gone could not be formed"):
        form(
            name="gone",
            rank=1,
            size=2,
            host=HOST,
            meet=(HOST, 9),  # nobody listens on the discard port
            timeout=0.5,
            alive=lambda rank: True,
        )


def test_a_peer_that_takes_too_long_counts_as_lost(store):
    members = [None, None]

    def come(rank):
        members[rank] = join(store, rank=rank, name="slow", timeout=1.0)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with pytest.raises(PeerLost):
        members[0].gather(torch.zeros(4, dtype=torch.uint8), [4, 4])
    for member in members:
        member.close()
