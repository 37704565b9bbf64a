"""What a group over streams does when members die, hang or do not come, and when strangers do.

Peers that die are real processes. All of it holds on the plain wire and on the secret one.
"""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from losing import Watched, lose
from stream_peer import HOST, WIRES, live

from curtail_dist.errors import PeerLost
from curtail_dist.outer.meeting import SCHEMA, Greeting, StreamMeeting
from curtail_dist.outer.streams import form_streams
from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["curtail_dist.outer.streams"])  # so torch is imported once, not by each peer
NOTICED_S = 2.0
BIG = 64 << 20
"""More than the sockets between two processes hold."""

pytestmark = [pytest.mark.integration, pytest.mark.fault]


@pytest.fixture(params=["plain", "secret"])
def kind(request):
    return request.param


@pytest.fixture
def wire(kind):
    return WIRES[kind]()


@pytest.fixture
def meeting(wire):
    with StreamMeeting(HOST, wire) as meeting:
        yield meeting


@pytest.fixture
def two(wire, meeting):
    """Form a group of two in this process, each member with a meeting of its own."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(StreamMeeting(HOST, wire))

        def make(name="two", timeout=30.0, lanes=1, alive=lambda rank: True):
            def come(rank):
                return form_streams(
                    name=name,
                    rank=rank,
                    size=2,
                    meeting=(meeting, other)[rank],
                    peers=[(HOST, meeting.port), (HOST, other.port)],
                    timeout=timeout,
                    alive=alive,
                    wire=wire,
                    lanes=lanes,
                )

            members = in_threads(come)
            for member in members:
                stack.callback(member.close)
            return members

        yield make


def in_threads(work, size=2):
    with ThreadPoolExecutor(size) as pool:
        calls = [pool.submit(work, rank) for rank in range(size)]
        return [call.result(50) for call in calls]


def settles(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def threads(prefix):
    return [one for one in threading.enumerate() if one.name.startswith(prefix)]


class Peer:
    """A member in a process of its own."""

    def __init__(self, kind):
        self.orders, theirs = FORKS.Pipe()
        self.process = FORKS.Process(target=live, args=(theirs, kind), daemon=True)
        self.process.start()
        theirs.close()
        self.port = self.hear()

    def hear(self):
        assert self.orders.poll(50), "the peer says nothing"
        return self.orders.recv()

    def tell(self, *words):
        self.orders.send(words)

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def end(self):
        """Kill it, if that was not done; return the signal it died of."""
        self.process.kill()
        self.process.join(10)
        self.orders.close()
        return -self.process.exitcode


class Group:
    """This process, rank 0, and peers."""

    def __init__(self, kind, wire, meeting, stack, size=2):
        self.wire, self.meeting, self.stack = wire, meeting, stack
        self.alive = Watched()
        self.peers = [Peer(kind) for _ in range(size - 1)]
        for peer in self.peers:
            stack.callback(peer.end)
        self.form("first", self.peers)

    def form(self, name, peers):
        ports = [self.meeting.port, *(peer.port for peer in peers)]
        for rank, peer in enumerate(peers, start=1):
            peer.tell("form", name, rank, ports)
        self.member = form_streams(
            name=name,
            rank=0,
            size=len(ports),
            meeting=self.meeting,
            peers=[(HOST, port) for port in ports],
            timeout=60.0,
            alive=self.alive,
            wire=self.wire,
        )
        self.stack.callback(self.member.close)
        assert [peer.hear() for peer in peers] == ["ready"] * len(peers)

    def gather(self, *sizes):
        return self.member.gather(torch.zeros(sizes[0], dtype=torch.uint8), sizes)

    def lose(self, do, *sizes):
        return lose(lambda: self.gather(*sizes), self.alive, do)


@pytest.fixture
def pair(kind, wire, meeting):
    with contextlib.ExitStack() as stack:
        yield Group(kind, wire, meeting, stack)


def test_a_peer_that_is_killed_while_it_is_waited_for_is_noticed_at_once(pair):
    (peer,) = pair.peers
    peer.tell("gather", [5, 5])
    assert len(pair.gather(5, 5)) == 2
    assert peer.hear() == "done"
    error, took = pair.lose(peer.process.kill, 5, 5)
    assert peer.end() == signal.SIGKILL
    assert "connection" in str(error)
    assert took < NOTICED_S


@pytest.mark.parametrize("sizes", [(0, BIG), (BIG, 0), (BIG, BIG)], ids=["taking", "giving", "both"])
def test_a_peer_that_is_killed_in_the_middle_of_a_large_payload_is_noticed_at_once(pair, sizes):
    (peer,) = pair.peers
    peer.tell("gather", sizes)
    peer.stop()  # it gets no further than its first packets
    error, took = pair.lose(peer.process.kill, *sizes)
    assert peer.end() == signal.SIGKILL
    assert "connection" in str(error)
    assert took < NOTICED_S


def test_a_stopped_peer_is_left_when_its_lease_is_gone_and_closing_does_not_wait_for_it(pair):
    (peer,) = pair.peers
    peer.stop()
    error, took = pair.lose(lambda: pair.alive.gone.add(1), BIG, 5)
    assert str(error) == "rank 1 has ended, or holds no lease any more"
    assert took < NOTICED_S
    assert peer.process.is_alive(), "the peer was stopped, not dead"
    began = time.monotonic()
    pair.member.close()
    assert time.monotonic() - began < NOTICED_S


def test_survivors_form_a_group_without_a_dead_member(kind, wire, meeting):
    with contextlib.ExitStack() as stack:
        group = Group(kind, wire, meeting, stack, size=3)
        survivor, dying = group.peers
        survivor.tell("gather", [5, 5, 5])
        _, took = group.lose(dying.process.kill, 5, 5, 5)
        assert took < NOTICED_S
        assert survivor.hear() == "lost"
        group.form("second", [survivor])
        survivor.tell("gather", [100_000, 5])
        assert [part.numel() for part in group.gather(100_000, 5)] == [100_000, 5]
        assert survivor.hear() == "done"


def come_alone(meeting, wire, *, name, rank=0, timeout=30.0, alive=lambda rank: True, other=9):
    """Come to a group of two whose other member listens at the port `other`: by default nobody does."""
    peers = [(HOST, meeting.port), (HOST, other)]
    return form_streams(
        name=name,
        rank=rank,
        size=2,
        meeting=meeting,
        peers=peers if rank == 0 else peers[::-1],
        timeout=timeout,
        alive=alive,
        wire=wire,
    )


def test_a_peer_that_does_not_come_counts_as_lost(meeting, wire):
    with pytest.raises(PeerLost, match=r"ranks \[1\] did not come to group nobody within 0.3 s"):
        come_alone(meeting, wire, name="nobody", timeout=0.3)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_peer_that_loses_its_lease_on_the_way_is_not_waited_for(meeting, wire, rank):
    began = time.monotonic()
    with pytest.raises(PeerLost, match=f"rank {1 - rank} lost its lease before it came to group late"):
        come_alone(meeting, wire, rank=rank, alive=lambda one: one == rank, name="late")
    assert time.monotonic() - began < NOTICED_S


def test_a_meeting_that_is_gone_counts_as_a_lost_peer(meeting, wire):
    with pytest.raises(PeerLost, match=r"ranks \[0\] did not come to group gone within 0.5 s; .*refused"):
        come_alone(meeting, wire, rank=1, name="gone", timeout=0.5)


def test_a_peer_that_listens_but_never_answers_counts_as_lost(meeting, wire):
    with StreamMeeting(HOST, wire) as other, pytest.raises(PeerLost, match=r"ranks \[0\] did not come"):
        come_alone(meeting, wire, rank=1, name="silent", timeout=0.5, other=other.port)


def test_a_group_that_could_not_be_formed_calls_nobody_any_more(meeting, wire):
    with StreamMeeting(HOST, wire) as other, pytest.raises(PeerLost, match="lost its lease"):
        come_alone(meeting, wire, rank=1, alive=lambda one: one == 1, name="silent", other=other.port)
    assert settles(lambda: not threads("stream-call"))


def test_a_peer_that_takes_too_long_counts_as_lost(two):
    members = two(timeout=1.0)
    with pytest.raises(PeerLost, match=r"an operation took more than 1\.0 s"):
        members[0].gather(torch.zeros(4, dtype=torch.uint8), [4, 4])


def test_a_member_that_gives_up_ends_the_operation_of_the_others_at_once(two):
    gone, waiting = set(), threading.Event()

    def alive(rank):
        waiting.set()
        return rank not in gone

    first, second = two(alive=alive)
    waiting.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(second.gather, torch.zeros(4, dtype=torch.uint8), [4, 4])
        assert waiting.wait(20)
        first.close()
        with pytest.raises(PeerLost, match="rank 0"):
            call.result(NOTICED_S)


def test_a_member_whose_operation_fails_ends_that_of_the_others_at_once(two):
    gone, waiting = set(), threading.Event()

    def alive(rank):
        waiting.set()
        return (threading.current_thread(), rank) not in gone

    first, second = two(alive=alive)
    waiting.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(second.gather, torch.zeros(0, dtype=torch.uint8), [BIG, 0])
        assert waiting.wait(20)
        gone.add((threading.current_thread(), 1))
        with pytest.raises(PeerLost, match="rank 1 has ended"):
            first.gather(torch.zeros(BIG, dtype=torch.uint8), [BIG, 0])
        with pytest.raises(PeerLost, match="rank 0"):
            call.result(NOTICED_S)


def test_closing_wakes_an_operation_of_another_thread(two):
    waiting = threading.Event()

    def alive(_rank):
        waiting.set()
        return True

    first, _second = two(alive=alive)
    waiting.clear()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(first.gather, torch.zeros(4, dtype=torch.uint8), [4, 4])
        assert waiting.wait(20)
        began = time.monotonic()
        first.close()
        assert time.monotonic() - began < 0.5
        with pytest.raises(PeerLost, match="left the group in the middle"):
            call.result(NOTICED_S)


def test_a_group_that_was_left_is_of_no_further_use(two):
    first, second = two()
    second.close()
    for _ in range(2):
        with pytest.raises(PeerLost):
            first.gather(torch.zeros(4, dtype=torch.uint8), [4, 4])
    with pytest.raises(PeerLost, match="form another"):
        second.gather(torch.zeros(4, dtype=torch.uint8), [4, 4])


def test_members_that_disagree_about_sizes_lose_each_other(two):
    members = two()
    mine = torch.zeros(4, dtype=torch.uint8)
    with ThreadPoolExecutor(2) as pool:
        mistaken = pool.submit(members[0].gather, mine, [4, 5])
        with pytest.raises(PeerLost):
            for _ in range(2):  # to the other all looks well at first
                members[1].gather(mine, [4, 4])
        with pytest.raises(
            PeerLost, match=r"out of step: it sent 4 bytes for operation 1, 5 for operation 1"
        ):
            mistaken.result(20)


def test_any_sequence_of_operations_gives_what_the_in_process_group_gives(two):
    chance = random.Random(1)
    near = [0, 1, 16, 1 << 16, 3 << 16, 1 << 18, 1 << 20]
    plan = [
        (chance.random() < 0.5, [max(0, chance.choice(near) + chance.randint(-1, 1)) for _ in range(2)])
        for _ in range(30)
    ]
    members = two(lanes=3)

    def content(rank, number, size):
        return (torch.arange(size) * (3 + 2 * rank) + number).to(torch.uint8)

    def run(rank):
        for number, (gathers, sizes) in enumerate(plan):
            if gathers:
                given = content(rank, number, sizes[rank])
                found = members[rank].gather(given, sizes)
                expected = [content(one, number, size) for one, size in enumerate(sizes)]
            else:
                giving = [bool(number % 2), True]
                given = [content(rank, number, size) for size in sizes] if giving[rank] else []
                found = members[rank].scatter(given, sizes, giving)
                expected = [content(one, number, sizes[rank] if giving[one] else 0) for one in range(2)]
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))

    in_threads(run)


# The meeting


def call(meeting, wire, greeting):
    connection = wire.connect((HOST, meeting.port), timeout=10)
    greeting.send(connection)
    return connection


def greeting_of(name="g", lane=0):
    return Greeting(group=name, caller=1, called=0, lane=lane)


def arrived(meeting, greeting):
    found = []

    def come():
        found.extend(one for one in [meeting.take(greeting)] if one is not None)
        return bool(found)

    assert settles(come)
    return found[0]


def test_a_member_that_comes_before_it_is_waited_for_is_kept(meeting, wire):
    with call(meeting, wire, greeting_of()) as connection:
        arrival = arrived(meeting, greeting_of())
        assert meeting.take(greeting_of()) is None, "nobody else may have it"
        arrival.connection.send(b"!")
        assert connection.recv(1) == b"!"
        arrival.close()
        assert connection.recv(1) == b""


def test_a_member_whose_call_is_cut_off_calls_again(meeting, wire):
    with StreamMeeting(HOST, wire) as own, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_alone, own, wire, rank=1, name="g", other=meeting.port)
        arrived(meeting, greeting_of()).close()
        second = arrived(meeting, greeting_of())
        second.connection.send(b"!")
        coming.result(20).close()
        second.close()


def test_a_member_that_comes_again_takes_the_place_of_its_former_connection(meeting, wire):
    with call(meeting, wire, greeting_of()) as first, call(meeting, wire, greeting_of("marker")):
        arrived(meeting, greeting_of("marker")).close()
        assert settles(lambda: greeting_of() in meeting._kept)
        with call(meeting, wire, greeting_of()):
            assert first.recv(1) == b""
            arrived(meeting, greeting_of()).close()


def test_a_caller_that_gave_up_is_not_taken_for_a_member(two, meeting, wire):
    call(meeting, wire, greeting_of("two")).close()
    assert settles(lambda: greeting_of("two") in meeting._kept)
    members = two(name="two")
    in_threads(lambda rank: members[rank].gather(torch.zeros(4, dtype=torch.uint8), [4, 4]))


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 4,
        (1025).to_bytes(4, "big") + b" " * 1025,
        b"\0\0\0\2[]",
        b"\0\0\0\5hello",
        {"schema": SCHEMA + 1, "group": "g", "caller": 1, "called": 0, "lane": 0},
        {"schema": SCHEMA, "group": 7, "caller": 1, "called": 0, "lane": 0},
        {"schema": SCHEMA, "group": "g", "caller": -1, "called": 0, "lane": 0},
        {"schema": SCHEMA, "group": "g", "caller": True, "called": 0, "lane": 0},
        {"schema": SCHEMA, "group": "g", "caller": 1, "called": 0},
    ],
    ids=str,
)
def test_what_is_no_greeting_is_refused(meeting, wire, greeting):
    with wire.connect((HOST, meeting.port), timeout=10) as connection:
        text = greeting if isinstance(greeting, bytes) else json.dumps(greeting).encode()
        connection.sendall(text if isinstance(greeting, bytes) else len(text).to_bytes(4, "big") + text)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b""
    assert not meeting._kept


def test_strangers_that_say_nothing_or_nonsense_do_not_keep_members_out(two, meeting):
    chance = random.Random(2)
    with contextlib.ExitStack() as stack:
        for number in range(300):
            stranger = stack.enter_context(socket.create_connection((HOST, meeting.port), timeout=10))
            if number % 2:
                with contextlib.suppress(OSError):
                    stranger.sendall(chance.randbytes(chance.randrange(1, 2000)))
        began = time.monotonic()
        members = two()
        assert time.monotonic() - began < 4.0, "strangers have 5 s"
        in_threads(lambda rank: members[rank].gather(torch.zeros(4, dtype=torch.uint8), [4, 4]))


def test_who_does_not_know_the_secret_is_no_member():
    wires = [SecretWire(RunSecret(bytes([rank]) * 32), "test") for rank in range(2)]
    with contextlib.ExitStack() as stack:
        meetings = [stack.enter_context(StreamMeeting(HOST, wire)) for wire in wires]

        def come(rank):
            with pytest.raises(PeerLost, match="prove" if rank else "did not come"):
                form_streams(
                    name="closed",
                    rank=rank,
                    size=2,
                    meeting=meetings[rank],
                    peers=[(HOST, meeting.port) for meeting in meetings],
                    timeout=1.0,
                    alive=lambda rank: True,
                    wire=wires[rank],
                )

        in_threads(come)


def test_who_arrives_while_the_meeting_closes_is_not_kept(meeting):
    meeting.close()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((HOST, 0)))
        late = stack.enter_context(socket.create_connection(server.getsockname(), timeout=10))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        pool.submit(meeting._keep, late, greeting_of()).result(10)
    assert meeting.take(greeting_of()) is None


def test_a_closed_meeting_leaves_no_thread_and_no_port(wire):
    meeting = StreamMeeting(HOST, wire)
    with call(meeting, wire, greeting_of()) as connection:
        assert settles(lambda: greeting_of() in meeting._kept)
        with socket.create_connection((HOST, meeting.port), timeout=10):
            began = time.monotonic()
            meeting.close()
            meeting.close()
            assert time.monotonic() - began < NOTICED_S
            assert connection.recv(1) == b""
    assert settles(lambda: not threads("stream-meeting"))  # with those of meetings before it
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, meeting.port), timeout=10)
