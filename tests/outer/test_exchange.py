"""What every exchange does: the in-process double, Gloo, and streams, plain and secret, alike."""

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.exchange import MESSAGE_BYTES, Alone, gather_messages
from curtail_dist.outer.gloo import GlooExchange, GroupStore, form
from curtail_dist.outer.meeting import StreamMeeting
from curtail_dist.outer.streams import StreamExchange, form_streams
from curtail_dist.security.secret import RunSecret
from curtail_dist.security.secret_wire import SecretWire
from curtail_dist.security.wire import PlainWire

HOST = "127.0.0.1"
MOST = 5
"""Members of the largest group."""
_NAMES = itertools.count()


def in_threads(size, work):
    """Call work(rank) in a thread for each rank; return the results."""
    with ThreadPoolExecutor(size) as pool:
        calls = [pool.submit(work, rank) for rank in range(size)]
        return [call.result(50) for call in calls]


def gloo_group(store, size, lanes) -> list[GlooExchange]:
    name = f"t/{next(_NAMES)}"

    def join(rank):
        meet = (HOST, store.port)
        return form(
            name=name,
            rank=rank,
            size=size,
            host=HOST,
            meet=meet,
            timeout=30.0,
            alive=lambda rank: True,
            lanes=lanes,
        )

    return in_threads(size, join)


def stream_group(wire, meetings, size, lanes) -> list[StreamExchange]:
    name = f"t/{next(_NAMES)}"

    def join(rank):
        return form_streams(
            name=name,
            rank=rank,
            size=size,
            meeting=meetings[rank],
            peers=[(HOST, meeting.port) for meeting in meetings],
            timeout=30.0,
            alive=lambda rank: True,
            wire=wire,
            lanes=lanes,
        )

    return in_threads(size, join)


@pytest.fixture(scope="module")
def store():
    return GroupStore(HOST)


@pytest.fixture(scope="module")
def meetings():
    """By wire, the meetings of as many members as any group has."""
    wires = {"plain streams": PlainWire(), "secret streams": SecretWire(RunSecret(b"s" * 32), "t")}
    with contextlib.ExitStack() as stack:
        yield {
            name: (wire, [stack.enter_context(StreamMeeting(HOST, wire)) for _ in range(MOST)])
            for name, wire in wires.items()
        }


KINDS = ["gloo", "plain streams", "secret streams"]


@pytest.fixture(params=["in-process", *KINDS, *(f"{kind}, 3 lanes" for kind in KINDS)])
def group(request, store, meetings):
    """Make a group of a size; its members are closed at the end."""
    made = []
    kind, _, lanes = request.param.partition(", ")

    def members(size):
        if kind == "in-process":
            return cd.InProcess.group(size, timeout=30.0)
        if kind == "gloo":
            return gloo_group(store, size, 3 if lanes else 1)
        return stream_group(*meetings[kind], size, 3 if lanes else 1)

    def make(size):
        made.extend(members(size))
        return made[-size:]

    yield make
    for member in made:
        member.close()


def payload(rank, size):
    return (torch.arange(size) * 7 + rank).to(torch.uint8)


@pytest.mark.parametrize(
    "sizes",
    [[5, 5], [0, 1], [8191, 0, 4097], [0, 0], [1 << 20, (1 << 20) + 1], [3_000_001, 1, 0]],
    ids=str,
)
def test_all_get_everyones_bytes_in_rank_order(group, sizes):
    members = group(len(sizes))
    gathered = in_threads(len(sizes), lambda rank: members[rank].gather(payload(rank, sizes[rank]), sizes))
    for parts in gathered:
        assert [part.numel() for part in parts] == sizes
        assert all(torch.equal(part, payload(rank, sizes[rank])) for rank, part in enumerate(parts))


def test_where_a_script_has_its_tensors_by_default_is_not_where_bytes_lie(group):
    members, sizes = group(3), [10, 0, 7]

    def work(rank):
        parts = [payload(10 * rank + to, size) for to, size in enumerate(sizes)]
        with torch.device("meta"):
            return (
                gather_messages(members[rank], b"card of %d" % rank),
                members[rank].gather(parts[rank], sizes),
                members[rank].scatter(parts if rank else [], sizes, [False, True, True]),
            )

    for to, (messages, gathered, scattered) in enumerate(in_threads(3, work)):
        assert messages == [b"card of 0", b"card of 1", b"card of 2"]
        for rank, size in enumerate(sizes):
            assert torch.equal(gathered[rank], payload(11 * rank, size))
            assert torch.equal(scattered[rank], payload(10 * rank + to, sizes[to] if rank else 0))


def test_bytes_are_counted_once_for_each_peer_they_go_to(group):
    members = group(3)
    sizes = [10, 0, 7]
    in_threads(3, lambda rank: members[rank].gather(payload(rank, sizes[rank]), sizes))
    assert [member.bytes_sent for member in members] == [20, 0, 14]


def test_a_group_does_many_gathers_in_order(group):
    members = group(2)
    rounds = [[number, 3] for number in range(40)]

    def run(rank):
        return [
            members[rank].gather(payload(number, sizes[rank]), sizes) for number, sizes in enumerate(rounds)
        ]

    first, second = in_threads(2, run)
    for mine, theirs in zip(first, second, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize(
    ("sizes", "giving"),
    [
        ([5, 5], [True, True]),
        ([8192, 8192, 4097], [True, False, True]),
        ([1 << 20, 1 << 20, 1 << 20, 3, 0], [True] * 5),
        ([4, 4], [False, False]),
    ],
    ids=str,
)
def test_each_gets_its_part_of_what_everyone_gives(group, sizes, giving):
    members = group(len(sizes))

    parts = [
        [payload(10 * rank + to, size) for to, size in enumerate(sizes)] if gives else []
        for rank, gives in enumerate(giving)
    ]
    scattered = in_threads(len(sizes), lambda rank: members[rank].scatter(parts[rank], sizes, giving))
    for to, got in enumerate(scattered):
        for rank, part in enumerate(got):
            assert torch.equal(part, parts[rank][to] if giving[rank] else payload(0, 0))


def test_what_was_scattered_does_not_change_with_the_parts(group):
    members = group(2)
    parts = [[payload(rank, 4), payload(rank, 4)] for rank in range(2)]
    scattered = in_threads(2, lambda rank: members[rank].scatter(parts[rank], [4, 4], [True, True]))
    for mine in parts:
        for part in mine:
            part.zero_()
    assert all(torch.equal(part, payload(rank, 4)) for got in scattered for rank, part in enumerate(got))


def test_parts_of_other_sizes_than_announced_are_refused_before_they_are_sent(group):
    members = group(2)
    with pytest.raises(ValueError, match=r"parts have \[4, 4\] bytes; \[5, 5\] were announced"):
        members[0].scatter([payload(0, 4), payload(0, 4)], [5, 5], [True, True])
    with pytest.raises(ValueError, match="none were announced"):
        members[0].scatter([payload(0, 4), payload(0, 4)], [4, 4], [False, True])


def test_messages_of_any_size_are_gathered(group):
    members = group(3)
    messages = [b"", b"x" * 100_001, "Grüße".encode()]
    gathered = in_threads(3, lambda rank: gather_messages(members[rank], messages[rank]))
    assert gathered == [messages] * 3


def test_a_payload_of_another_size_than_announced_is_refused_before_it_is_sent(group):
    members = group(2)
    with pytest.raises(ValueError, match="gives 4 bytes"):
        members[0].gather(payload(0, 4), [5, 5])


def test_closing_is_idempotent(group):
    for member in group(2):
        member.close()
        member.close()


def test_one_member_alone_gets_back_what_it_gave():
    assert gather_messages(Alone(), b"hello") == [b"hello"]
    mine = payload(0, 5)
    assert Alone().gather(mine, [5])[0] is mine


class Liar(Alone):
    """A group of two whose other member announces what it likes."""

    size = 2

    def __init__(self, announced: int) -> None:
        self._announced = torch.tensor([announced], dtype=torch.int64).view(torch.uint8)

    def gather(self, payload, sizes):
        assert sizes == [8, 8], "nothing is made room for that was not looked at"
        return [payload, self._announced]


@pytest.mark.parametrize("announced", [-1, MESSAGE_BYTES + 1, 2**62])
def test_a_member_that_announces_no_message_ends_the_group_and_takes_no_memory(announced):
    with pytest.raises(cd.PeerLost, match=f"rank 1 announces {announced} bytes; a message may have"):
        gather_messages(Liar(announced), b"mine")
