"""The codec's kernels make the bytes of the library's codec, and its numbers of them."""

import math
from types import ModuleType

import pytest
import torch
from curtail_kernels import codec_kernels
from curtail_kernels.codec import parts, payload_size
from torch import Tensor

from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.feedback import Feedback, encoder

TILE = 512
KINDS = {"int8": (8, 128), "int4": (4, 64)}


def without_nan_bits(payload: Tensor, numbers: int, block: int) -> Tensor:
    """The payload with one pattern for scales that are not numbers: torch's own depends on the processor."""
    payload = payload.clone()
    scales, _ = parts(payload, numbers, block)
    scales[scales.view(torch.bfloat16).isnan()] = -1
    return payload


def encoded(module: ModuleType, flat: Tensor, residual: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
    bits, block = KINDS[name]
    payload = torch.full((payload_size(flat.numel(), bits, block),), 0x5A, dtype=torch.uint8)
    rest = torch.full_like(flat, 777.0)
    places = parts(payload, flat.numel(), block)
    module.launch_encode(flat, residual, *places, rest, bits=bits, block=block, tile=TILE)
    return payload, rest


def compare(module: ModuleType, flat: Tensor, name: str, residual: Tensor | None = None) -> None:
    bits, block = KINDS[name]
    whole = flat if residual is None else flat + residual
    want = CODECS[name].encode(whole)
    payload, rest = encoded(module, flat, residual, name)
    numbers = flat.numel()
    assert torch.equal(*(without_nan_bits(each, numbers, block) for each in (payload, want)))
    back = torch.full_like(flat, 777.0)
    module.launch_decode(*parts(payload, numbers, block), back, bits=bits, block=block, tile=TILE)
    decoded = CODECS[name].decode(want, numbers)
    same_bits(back, decoded)
    same_bits(rest, whole - decoded)


def same_bits(got: Tensor, want: Tensor) -> None:
    """Equal bit for bit where they are numbers, and NaN where they are not."""
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.nan_to_num(0.0).view(torch.int32), want.nan_to_num(0.0).view(torch.int32))


def drawn(numbers: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(numbers, generator=torch.Generator().manual_seed(numbers))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("first", range(1, 301, 60))
def test_every_length_gives_the_same_bytes(first, name):
    for numbers in range(first, first + 60):
        compare(codec_kernels, drawn(numbers), name)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("numbers", [1024, 2049, 5000])
def test_several_programs_and_a_residual_give_the_same_bytes(numbers, name):
    compare(codec_kernels, drawn(numbers), name, drawn(numbers + 1)[1:].contiguous())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-42, 1e-40, 1e-38, 1e-36, 1e30, 8e37])
def test_zero_subnormal_and_huge_numbers_give_the_same_bytes(scale, name):
    compare(codec_kernels, drawn(1031, scale), name)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("odd", [math.nan, -math.nan, math.inf, -math.inf, 3.4e38])
def test_a_block_that_is_not_finite_gives_the_same_bytes(odd, name):
    flat = drawn(1000)
    flat[[5, 130, 700, 999]] = odd
    flat[131] = math.inf
    flat.view(torch.int32)[132] = 0x7FFFFFFF  # a NaN that would round to -0
    compare(codec_kernels, flat, name)


def halves(name: str, scale: float) -> Tensor:
    """Numbers half way between two integers of their blocks; `scale` a bf16."""
    most = 2 ** (KINDS[name][0] - 1) - 1
    flat = torch.arange(-2 * most, 2 * most + 1).repeat(8) / 2
    flat[::32] = most
    return flat * scale


def half_scales(name: str) -> Tensor:
    """Blocks whose scales lie half way between two bf16, below an odd and above an even one."""
    bits, block = KINDS[name]
    flat = drawn(4 * block)
    flat[::block] = (2 ** (bits - 1) - 1) * (1 + torch.tensor([1.0, 3.0, 5.0, 7.0]) / 256)
    return flat


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1.1875, 1.6484375])
def test_halves_go_to_the_even_integer(scale, name):
    compare(codec_kernels, halves(name, scale), name)


@pytest.mark.parametrize("name", KINDS)
def test_halves_of_scales_go_to_the_even_one(name):
    compare(codec_kernels, half_scales(name), name)


@pytest.mark.parametrize("name", KINDS)
def test_three_rounds_of_feedback_are_those_of_the_library(name):
    feedback, residual = Feedback(encoder(CODECS[name])), None
    for round_ in range(3):
        flat = drawn(700 + 64, 1.0 + round_)
        payload, residual_next = encoded(codec_kernels, flat, residual, name)
        assert torch.equal(payload, feedback.encode(flat.clone()))
        feedback.counted()
        residual = residual_next


@pytest.mark.parametrize("name", KINDS)
def test_the_bytes_are_the_same_where_nothing_is_carried_or_kept(name):
    bits, block = KINDS[name]
    flat = drawn(777)
    payload, _ = encoded(codec_kernels, flat, torch.zeros(777), name)
    bare = torch.full_like(payload, 0xA5)
    codec_kernels.launch_encode(flat, None, *parts(bare, 777, block), None, bits=bits, block=block, tile=TILE)
    assert torch.equal(payload, bare)


@pytest.mark.parametrize("name", KINDS)
def test_the_rest_may_be_written_over_the_numbers(name):
    bits, block = KINDS[name]
    flat = drawn(777)
    payload, rest = encoded(codec_kernels, flat, None, name)
    again = torch.full_like(payload, 0x5A)
    codec_kernels.launch_encode(
        flat, None, *parts(again, 777, block), flat, bits=bits, block=block, tile=TILE
    )
    assert torch.equal(payload, again)
    assert torch.equal(flat, rest)
