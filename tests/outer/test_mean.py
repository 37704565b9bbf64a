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
    every = [Payloads(codec, FRAGMENTS, like) for _ in range(size)]
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
    """But for what the codec of means leaves out, where they travel."""
    weights = [[float(3 + rank), float(7 - rank % 3)] for rank in range(size)]
    means, _, plain = exchange_all(size, codec, weights)
    for mean in means:
        assert mean.keys() == plain.keys()
        assert all(torch.equal(mean[name], means[0][name]) for name in plain)
        off = max((mean[name] - value).abs().max() for name, value in plain.items())
        most = max(value.abs().max() for value in plain.values())
        assert off == 0 if size < 4 or codec == "fp32" else 0 < off < 0.01 * most


def repeated(codec, given, rounds, counts):
    """Return the sum of the means of equal rounds, in which these members give the same each time."""
    size, which = len(given), (0, 1)
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    members = cd.InProcess.group(size, timeout=30)

    def run(rank):
        payloads = Payloads(codec, FRAGMENTS, zeros)
        total = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
        for _ in range(rounds):
            mine = payloads.encode(which, given[rank], zeros)
            mean = exchanged_mean(members[rank], payloads, which, mine, [[1.0, 1.0]] * size)
            payloads.settle(which, which if counts else ())
            for name, value in mean.items():
                total[name] += value
        return total

    with ThreadPoolExecutor(size) as pool:
        return next(pool.map(run, range(size)))


@pytest.mark.parametrize("codec", ["bf16", "int8"])
def test_what_is_left_out_of_a_mean_comes_with_later_payloads_if_it_counted(codec):
    """In equal rounds what is missing of the sum of the means does not grow, and would without that."""
    given = [pseudo_gradient(rank) for rank in range(4)]
    mean = {name: sum(one[name] for one in given) / 4 for name in SHAPES}

    def missing(rounds, counts):
        summed = repeated(codec, given, rounds, counts)
        return torch.cat([(summed[name] - rounds * mean[name]).flatten() for name in SHAPES]).norm()

    assert missing(40, counts=True) < 2 * missing(10, counts=True)
    assert missing(40, counts=False) > 2 * missing(10, counts=False)


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


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("size", [4, 9])
def test_that_is_fewer_bytes_than_a_payload_for_each_member_with_every_codec(size, codec):
    whole = Payloads(codec, FRAGMENTS, pseudo_gradient(0)).size((0, 1))
    assert sum(exchange_all(size, codec, [[1.0, 1.0]] * size)[1]) < size * (size - 1) * whole
