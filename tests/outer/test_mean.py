"""The mean of many members: reduced in parts it has the bytes that gathering would give, and sends fewer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.mean import exchanged_mean
from curtail_dist.outer.payloads import Payloads

FRAGMENTS = (("a", "b"), ("c",))
SHAPES = {"a": torch.Size([37, 11]), "b": torch.Size([]), "c": torch.Size([1201])}
NUMBERS = 37 * 11 + 1 + 1201


def pseudo_gradient(rank):
    generator = torch.Generator().manual_seed(rank)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def exchange_all(size, codec, weights, which=(0, 1)):
    """Return each member's mean, the bytes each sent, and the mean of the payloads gathered in one place."""
    like = pseudo_gradient(0)
    every = [Payloads(CODECS[codec], FRAGMENTS, like) for _ in range(size)]
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    given = [one.encode(which, pseudo_gradient(rank), zeros) for rank, one in enumerate(every)]
    members = cd.InProcess.group(size, timeout=30)

    def run(rank):
        return exchanged_mean(members[rank], every[rank], which, given[rank], weights)

    with ThreadPoolExecutor(size) as pool:
        means = list(pool.map(run, range(size)))
    payloads = [one if any(each) else None for one, each in zip(given, weights, strict=True)]
    plain = every[0].by_parameter(which, every[0].mean(which, payloads, weights))
    return means, [member.bytes_sent for member in members], plain


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
def test_every_member_has_the_bytes_of_the_plain_mean(size, codec):
    weights = [[float(3 + rank), float(7 - rank % 3)] for rank in range(size)]
    means, _, plain = exchange_all(size, codec, weights)
    for mean in means:
        assert mean.keys() == plain.keys()
        assert all(torch.equal(mean[name], plain[name]) for name in plain)


@pytest.mark.parametrize("size", [3, 5])
def test_members_without_weight_give_nothing_and_get_the_mean(size):
    weights = [[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], *[[0.0, 0.0]] * (size - 3)]
    means, _, plain = exchange_all(size, "fp32", weights)
    assert plain.keys() == {"a", "b"}, "nobody has weight in the other fragment"
    expected = (2 * pseudo_gradient(1)["a"] + 3 * pseudo_gradient(2)["a"]) / 5
    assert torch.allclose(plain["a"], expected, atol=1e-6)
    for mean in means:
        assert mean.keys() == plain.keys()
        assert all(torch.equal(mean[name], plain[name]) for name in plain)


def test_above_three_members_fp32_is_reduced_in_parts():
    """Of each fragment a member sends 4/5 of its payload and 4/5 of its share in the mean, not 4 payloads."""
    _, sent, _ = exchange_all(5, "fp32", [[1.0, 1.0]] * 5)
    blocks = 2 * 128 * 4  # parts are whole blocks
    assert all(one <= 2 * 4 * NUMBERS * 4 / 5 + 4 * blocks for one in sent)
    _, sent, _ = exchange_all(3, "fp32", [[1.0, 1.0]] * 3)
    assert sent == [2 * 4 * NUMBERS] * 3


def test_a_small_payload_is_gathered_as_long_as_that_sends_less():
    """In int4 the mean in fp32 is the most of it: it pays from nine members on."""
    size = Payloads(CODECS["int4"], FRAGMENTS, pseudo_gradient(0)).size((0, 1))
    assert exchange_all(5, "int4", [[1.0, 1.0]] * 5)[1] == [4 * size] * 5
    assert sum(exchange_all(9, "int4", [[1.0, 1.0]] * 9)[1]) < 9 * 8 * size
