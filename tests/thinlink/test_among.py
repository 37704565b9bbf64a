"""What one of N sites does without the others is what it does with them."""

import threading

import pytest
import torch
from thinlink.among import Shape, arithmetic, decisions, stacked, sync
from thinlink.model import Stack, drift

import curtail_dist as cd


@pytest.mark.parametrize("sites", [2, 5])
def test_it_sends_as_many_bytes_as_a_member_of_a_group(sites):
    members, sent = cd.InProcess.group(sites, timeout=30), {}

    def run(rank):
        model = Stack(512, 4, 1024)
        drift(model, torch.Generator().manual_seed(1))
        sync(stacked(model, "int4"), members[rank])
        sent[rank] = members[rank].bytes_sent

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(sites)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    _, for_each_parameter = arithmetic(sites, "int4", repetitions=1)
    assert for_each_parameter * Stack(512, 4, 1024).numbers == pytest.approx(sent[0], rel=1e-12)


def test_its_records_grow_with_sites_and_with_what_is_pending():
    whole = Shape(fragments=1, steps=8, delay=0, rows_a_step=50)
    parts = Shape(fragments=4, steps=2, delay=0, rows_a_step=50)
    few, many, pending = (
        decisions(sites, shape, rounds=1)[0].commit_bytes
        for sites, shape in ((3, whole), (6, whole), (6, parts))
    )
    assert few < many < pending
    assert pending > 2 * many, "three rounds' work of each site stands in it beside the present one"
