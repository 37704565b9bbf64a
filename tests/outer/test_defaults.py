"""A script may set torch's default type and device: what is exchanged, and stepped, is as without."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.distributed as dist

import curtail_dist as cd
from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.fingerprint import fingerprint
from curtail_dist.runtime.intrasite import ManyRanks, Tally

KEPT = {"dtype": torch.float32, "device": "cpu"}


@contextlib.contextmanager
def on_meta():
    """Stands for a device that is not the processor; the default is each thread's own."""
    with torch.device("meta"):
        yield


@contextlib.contextmanager
def in_type(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


in_bfloat16, in_float64 = partial(in_type, torch.bfloat16), partial(in_type, torch.float64)
DEFAULTS = [on_meta, in_bfloat16, in_float64]


def trained(defaults, codec, size):
    """Return the hash of each member's state after three rounds."""
    members = cd.InProcess.group(size, timeout=30)

    def run(member):
        with defaults():
            generator = torch.Generator("cpu").manual_seed(member.rank)
            model = torch.nn.Linear(40, 30, bias=False, **KEPT)
            torch.nn.init.constant_(model.weight, 0.5)
            inner = torch.optim.SGD(model.parameters(), lr=0.1)
            outer = cd.DiLoCo(None, model, inner, sync_every=1, exchange=member, codec=codec)
            for _ in range(3):
                with torch.no_grad():
                    model.weight.add_(torch.randn(30, 40, generator=generator, **KEPT))
                outer.step(tokens=1)
            return outer.state.hash

    with ThreadPoolExecutor(size) as pool:
        return set(pool.map(run, members))


@pytest.mark.parametrize("size", [2, 4], ids=["gathered", "in parts"])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("defaults", DEFAULTS)
def test_the_outer_step_has_the_same_bytes(defaults, codec, size):
    expected = trained(contextlib.nullcontext, codec, size)
    assert trained(defaults, codec, size) == expected
    assert len(expected) == 1


@pytest.mark.parametrize("defaults", DEFAULTS)
def test_a_machine_has_the_same_fingerprint(defaults):
    expected = fingerprint()
    with defaults():
        assert fingerprint() == expected


@pytest.fixture
def ranks():
    """A site's ranks, of which there is one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield ManyRanks(None, dist.group.WORLD)
    dist.destroy_process_group()


@pytest.mark.parametrize("defaults", DEFAULTS)
def test_the_ranks_of_a_site_hear_each_other(ranks, defaults):
    tally, tensor = Tally(tokens=5, rows=2, due=True), torch.ones(3)
    with defaults():
        assert ranks.agree(tally) == tally
        assert ranks.any(flag=True)
        assert ranks.tell(b"order") == b"order"
        assert ranks.gather(b"report") == [b"report"]
        ranks.spread([tensor])
    assert torch.equal(tensor, torch.ones(3))
