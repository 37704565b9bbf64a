"""What every exchange does: the in-process double and Gloo alike."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.exchange import Alone, gather_messages
from curtail_dist.outer.gloo import GlooExchange, GroupStore, form

HOST = "127.0.0.1"
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


@pytest.fixture(scope="module")
def store():
    return GroupStore(HOST)


@pytest.fixture(params=["in-process", "gloo", "gloo, 3 lanes"])
def group(request, store):
    """Make a group of a size; its members are closed at the end."""
    made = []

    def make(size):
        members = cd.InProcess.group(size, timeout=30.0) if request.param == "in-process" else None
        made.extend(members or gloo_group(store, size, 3 if "lanes" in request.param else 1))
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

    def parts(rank):
        return [payload(10 * rank + to, size) for to, size in enumerate(sizes)] if giving[rank] else []

    scattered = in_threads(len(sizes), lambda rank: members[rank].scatter(parts(rank), sizes, giving))
    for to, got in enumerate(scattered):
        for rank, part in enumerate(got):
            assert torch.equal(part, parts(rank)[to] if giving[rank] else payload(0, 0))


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
