"""A shaped exchange takes as long as its bytes need at its rate, and gives what the one inside gives."""

import threading
import time

import torch
from thinlink.shaped import Shaped

from curtail_dist.outer.exchange import InProcess

RATE_BIT_S = 8e5
SIZE = 20_000


def played(operation):
    """Run an operation at two shaped members; return their results and seconds."""
    results: dict[int, tuple[list[torch.Tensor], float]] = {}
    members = [Shaped(one, RATE_BIT_S) for one in InProcess.group(2)]

    def run(rank):
        began = time.monotonic()
        found = operation(members[rank])
        results[rank] = found, time.monotonic() - began

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [results[rank] for rank in range(2)]


def test_two_payloads_travel_at_the_same_time_and_take_as_long_as_one():
    results = played(lambda one: one.gather(torch.full((SIZE,), one.rank, dtype=torch.uint8), [SIZE] * 2))
    for found, took in results:
        assert [int(part[0]) for part in found] == [0, 1]
        assert 0.2 <= took < 0.38


def test_one_payload_takes_as_long_at_both_ends():
    def operation(one):
        return one.gather(torch.zeros(SIZE if one.rank == 0 else 0, dtype=torch.uint8), [SIZE, 0])

    assert all(0.2 <= took < 0.38 for _, took in played(operation))
