"""Frames go both ways at the same time, arrive in place, and whatever else comes ends the group."""

import select
import socket
import struct

import pytest

from curtail_dist.errors import PeerLost
from curtail_dist.outer.frames import AGAIN, Frames

NOTHING = memoryview(b"")


@pytest.fixture
def line():
    """One side's frames, and the other side's bare socket."""
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    theirs.settimeout(10)
    with theirs:
        frames = Frames(1, mine)
        yield frames, theirs
        frames.close()


@pytest.fixture
def pair():
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    both = [Frames(1 - rank, end) for rank, end in enumerate(ends)]
    yield both
    for one in both:
        one.close()


def header(number, length):
    return struct.pack(">QQ", number, length)


@pytest.mark.parametrize("size", [1, 15, 16, 17, (1 << 18) - 1, 1 << 18, (1 << 20) + 1, 5_000_003])
def test_frames_of_any_size_go_both_ways_at_once(pair, size):
    given = [bytes([7]) * size, bytes(range(256)) * (size // 256 + 1)]
    taken = [bytearray(size), bytearray(len(given[1]))]
    pair[0].begin(1, memoryview(given[0]), memoryview(taken[1]))
    pair[1].begin(1, memoryview(given[1]), memoryview(taken[0]))
    unfinished = list(pair)
    for _ in range(1_000_000):
        unfinished = [one for one in unfinished if one.go_on()]
        if not unfinished:
            break
    assert not unfinished
    assert [bytes(one) for one in taken] == given


def test_who_gives_nothing_sends_nothing(line):
    frames, theirs = line
    frames.begin(1, NOTHING, NOTHING)
    assert frames.go_on() == 0
    assert not select.select([theirs], [], [], 0)[0]


@pytest.mark.parametrize(
    ("number", "length"), [(1, 4), (3, 4), (2, 3), (2, 5), (2, 0), (2**64 - 1, 4), (2, 2**60)]
)
def test_a_frame_that_nobody_expects_ends_the_group_and_leaves_the_buffer(line, number, length):
    frames, theirs = line
    buffer = bytearray(b"as it")
    frames.begin(2, NOTHING, memoryview(buffer)[:4])
    theirs.sendall(header(number, length) + b"evil")
    with pytest.raises(PeerLost, match=rf"it sent {length} bytes for operation {number}, 4 for operation 2"):
        frames.go_on()
    assert buffer == b"as it"


def test_what_comes_after_a_frame_waits_for_the_next_operation(line):
    frames, theirs = line
    theirs.sendall(header(1, 2) + b"ab" + header(2, 3) + b"cde")
    first, second = bytearray(2), bytearray(3)
    for number, buffer in ((1, first), (2, second)):
        frames.begin(number, NOTHING, memoryview(buffer))
        assert frames.go_on() == 0
    assert (first, second) == (b"ab", b"cde")


def test_a_connection_that_ends_inside_a_frame_ends_the_group(line):
    frames, theirs = line
    frames.begin(1, NOTHING, memoryview(bytearray(8)))
    theirs.sendall(header(1, 8) + b"half")
    theirs.close()
    with pytest.raises(PeerLost, match="rank 1 closed its connection"):
        frames.go_on()


class Endless:
    """A connection over which everything goes at once."""

    def __init__(self, incoming):
        self.incoming = memoryview(incoming)
        self.sent = 0

    def send(self, view):
        self.sent += len(view)
        return len(view)

    def recv_into(self, view):
        count = min(len(view), 1 << 14)
        view[:count] = self.incoming[:count]
        self.incoming = self.incoming[count:]
        return count


def test_a_fast_peer_does_not_keep_the_others_from_their_turn():
    size, buffer = 8 << 20, bytearray(8 << 20)
    connection = Endless(header(1, size) + b"x" * size)
    frames = Frames(1, connection)
    frames.begin(1, memoryview(bytes(size)), memoryview(buffer))
    turns = [frames.go_on()]
    assert 0 < connection.sent < size // 4
    assert size < len(connection.incoming) + size // 4
    while turns[-1]:
        turns.append(frames.go_on())
    assert all(wanted & AGAIN for wanted in turns[:-1])
    assert connection.sent == size + 16
    assert buffer == b"x" * size
