import math
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.outer.codec import CODECS, average, count, decode
from curtail_dist.outer.feedback import Feedback, encoder
from curtail_dist.outer.fused import fused_encoder
from curtail_dist.outer.payloads import Payloads

SHAPES = [(), (1,), (7,), (3, 5), (0,), (2, 3, 4), (1031,)]
LOSSY = [name for name in CODECS if name != "fp32"]
BLOCK = {"int8": 128, "int4": 64}
MOST = {"int8": 127, "int4": 7}


def tensors(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def narrow(value):
    """A bf16 near a float, ties to even, by its bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    bits += 0x7FFF + (bits >> 16 & 1)
    return bits >> 16


def widen(half):
    return struct.unpack("<f", struct.pack("<I", half << 16))[0]


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


numbers = st.one_of(
    st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    st.floats(-1.0, 1.0, width=32, allow_subnormal=False),
    st.sampled_from([0.0, -0.0, 3e38, 0.5, -1.5]).map(single),
)


def plainly(values, name):
    """What a blockwise codec gives, number by number: the payload, and what is read from it."""
    block, most = BLOCK[name], MOST[name]
    scales, levels, back = [], [], []
    for first in range(0, len(values), block):
        part = values[first : first + block]
        scale = narrow(single(max(abs(value) for value in part) / most))
        scales.append(scale)
        step = widen(scale)
        for value in part:
            level = max(-most, min(most, round(single(value / (step or 1.0)))))
            levels.append(level)
            back.append(single(level * step))
    payload = b"".join(struct.pack("<H", scale) for scale in scales)
    if name == "int8":
        return payload + b"".join(struct.pack("<b", level) for level in levels), back
    levels += [0] * (len(levels) % 2)
    pairs = zip(levels[::2], levels[1::2], strict=True)
    return payload + bytes((low & 0xF) | (high & 0xF) << 4 for low, high in pairs), back


def through(tensors):
    """What becomes of local parameters on their way as a payload in fp32 and back."""
    local = {str(index): tensor for index, tensor in enumerate(tensors)}
    payloads = Payloads("fp32", (tuple(local),), local)
    zeros = {name: torch.zeros(value.shape) for name, value in local.items()}
    payload = payloads.encode((0,), zeros, local)
    assert payload.numel() == payloads.size((0,)) == 4 * count(list(local.values()))
    return payloads.by_parameter((0,), payloads.mean((0,), [payload], [[1.0]])).values()


@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6))
def test_tensors_of_any_shape_come_back_from_the_flat_one(shapes):
    given_tensors = tensors(shapes)
    for back, tensor in zip(through(given_tensors), given_tensors, strict=True):
        assert back.shape == tensor.shape
        assert torch.equal(back, -tensor)


def test_strided_and_half_precision_tensors_are_exact():
    square = torch.randn(5, 5)
    mixed = [square.t(), torch.randn(9).bfloat16(), square[::2]]
    for back, tensor in zip(through(mixed), mixed, strict=True):
        assert torch.equal(back, -tensor.float())


@given(st.lists(numbers, max_size=300))
def test_fp32_is_exact(values):
    flat = torch.tensor(values)
    assert torch.equal(decode(CODECS["fp32"], CODECS["fp32"].encode(flat), len(values)), flat)


@given(st.lists(numbers, max_size=300))
def test_bf16_rounds_to_the_nearest(values):
    codec = CODECS["bf16"]
    payload = codec.encode(torch.tensor(values))
    assert bytes(payload.numpy()) == b"".join(struct.pack("<H", narrow(value)) for value in values)
    assert decode(codec, payload, len(values)).tolist() == [widen(narrow(value)) for value in values]


@pytest.mark.parametrize("name", BLOCK)
@given(values=st.lists(numbers, max_size=300))
def test_blockwise_codecs_make_the_bytes_of_the_plain_reference(name, values):
    codec = CODECS[name]
    payload = codec.encode(torch.tensor(values, dtype=torch.float32))
    expected, back = plainly(values, name)
    assert bytes(payload.numpy()) == expected
    assert decode(codec, payload, len(values)).tolist() == back


@pytest.mark.parametrize("name", BLOCK)
def test_no_number_is_further_off_than_its_block_allows(name):
    flat = torch.randn(10_000) * torch.logspace(-6, 3, 10_000)
    back = decode(CODECS[name], CODECS[name].encode(flat), flat.numel())
    for value, read in zip(flat.split(BLOCK[name]), back.split(BLOCK[name]), strict=True):
        step = value.abs().max() / MOST[name]
        # Half a step, and what the scale lost in bf16 on the largest number.
        assert (value - read).abs().max() <= step * (0.5 + MOST[name] * 2**-8)


@pytest.mark.parametrize(
    ("name", "bytes_a_number"), [("fp32", 4), ("bf16", 2), ("int8", 1.016), ("int4", 0.532)]
)
def test_a_payload_is_as_small_as_promised(name, bytes_a_number):
    assert CODECS[name].size(1_000_000) <= bytes_a_number * 1_000_000
    assert CODECS[name].encode(torch.randn(1_000_003)).numel() == CODECS[name].size(1_000_003)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(name, odd):
    flat = torch.randn(500)
    flat[311] = odd
    back = decode(CODECS[name], CODECS[name].encode(flat), 500)
    assert not torch.isfinite(back).all()


@pytest.mark.parametrize("name", CODECS)
def test_a_payload_of_another_size_is_refused(name):
    with pytest.raises(ValueError, match="must have"):
        decode(CODECS[name], torch.zeros(12, dtype=torch.uint8), 2)


def test_the_mean_is_weighted_by_tokens():
    plain = CODECS["fp32"]
    payloads = [plain.encode(torch.tensor([1.0, 0.0, 4.0])), plain.encode(torch.tensor([4.0, 3.0, 1.0]))]
    assert torch.allclose(average(plain, payloads, [2, 1], 3), torch.tensor([2.0, 1.0, 3.0]))


def test_one_contributor_is_passed_on_bit_for_bit():
    flat = torch.randn(23)
    assert torch.equal(average(CODECS["fp32"], [None, CODECS["fp32"].encode(flat)], [5, 3], 23), flat)


def test_a_member_that_contributes_nothing_cannot_spoil_the_mean():
    flat = torch.ones(2)
    assert torch.equal(average(CODECS["fp32"], [CODECS["fp32"].encode(flat), None], [1, 0], 2), flat)


@pytest.mark.parametrize("name", CODECS)
def test_over_many_rounds_nothing_is_left_out(name):
    codec, sent = CODECS[name], torch.zeros(1000)
    feedback, given_sum = Feedback(encoder(codec)), torch.zeros(1000)
    for seed in range(50):
        (flat,) = tensors([(1000,)], seed)
        given_sum += flat
        sent += decode(codec, feedback.encode(flat.clone()), 1000)
        feedback.counted()
    once = (flat - decode(codec, codec.encode(flat), 1000)).abs().max()
    assert (given_sum - sent).abs().max() <= 2 * once + 1e-4, "no more is missing than one payload leaves out"


@pytest.mark.parametrize("name", LOSSY)
def test_a_round_that_is_repeated_or_thrown_away_leaves_no_trace(name):
    first, second = tensors([(1000,), (1000,)])
    feedback, other = Feedback(encoder(CODECS[name])), Feedback(encoder(CODECS[name]))
    for one in (feedback, other):
        one.encode(first.clone())
        one.counted()
    feedback.encode(torch.randn(1000))
    feedback.discarded()
    feedback.counted()
    again = feedback.encode(second.clone())
    assert torch.equal(again, feedback.encode(second.clone()))
    assert torch.equal(again, other.encode(second.clone()))
    assert not torch.equal(again, CODECS[name].encode(second)), "what the first left out is in it"


@pytest.mark.parametrize("name", sorted(CODECS))
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf"), None, 3.4e38])
def test_a_payload_is_finite_if_its_numbers_are(name, odd):
    (flat,) = tensors([(1031,)])
    if odd is not None:
        flat[700] = odd
    payload = CODECS[name].encode(flat)
    finite = bool(torch.isfinite(CODECS[name].decode(payload, 1031)).all())
    assert CODECS[name].is_finite(payload, 1031) == finite
    assert finite or odd is not None


def rounds_of(encode, device: str) -> list[torch.Tensor]:
    """The payloads of three rounds of one member, the second of which is thrown away."""
    feedback, sent = Feedback(encode), []
    for number in range(3):
        flat = torch.randn(1031, generator=torch.Generator().manual_seed(number)).to(device)
        sent.append(feedback.encode(flat).cpu())
        feedback.discarded() if number == 1 else feedback.counted()
    return sent


@pytest.mark.parametrize("name", sorted(CODECS))
def test_who_asks_for_fused_kernels_on_a_cpu_sends_the_same_bytes(name):
    plain, fused = rounds_of(encoder(CODECS[name]), "cpu"), rounds_of(fused_encoder(name), "cpu")
    assert all(torch.equal(*pair) for pair in zip(plain, fused, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(CODECS))
def test_fused_kernels_on_a_gpu_send_the_bytes_of_a_cpu(name):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    plain, fused = rounds_of(encoder(CODECS[name]), "cpu"), rounds_of(fused_encoder(name), "cuda")
    assert all(torch.equal(*pair) for pair in zip(plain, fused, strict=True))
