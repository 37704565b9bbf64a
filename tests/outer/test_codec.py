import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.outer.codec import average, decode, encode, encoded_bytes

SHAPES = [(), (1,), (7,), (3, 5), (0,), (2, 3, 4), (1031,)]


def tensors(shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=6))
def test_decoding_gives_back_every_tensor_exactly(shapes):
    given_tensors = tensors(shapes)
    payload = encode(given_tensors)
    assert payload.numel() == encoded_bytes(given_tensors)
    for back, tensor in zip(decode(payload, given_tensors), given_tensors, strict=True):
        assert back.shape == tensor.shape
        assert torch.equal(back, tensor)


def test_strided_and_half_precision_tensors_are_exact():
    square = torch.randn(5, 5)
    mixed = [square.t(), torch.randn(9).bfloat16(), square[::2]]
    for back, tensor in zip(decode(encode(mixed), mixed), mixed, strict=True):
        assert torch.equal(back, tensor.float())


def test_a_payload_of_another_size_is_refused():
    with pytest.raises(ValueError, match="must have 8"):
        decode(torch.zeros(12, dtype=torch.uint8), [torch.zeros(2)])


def test_the_mean_is_weighted_by_tokens():
    like = [torch.zeros(3)]
    payloads = [encode([torch.tensor([1.0, 0.0, 4.0])]), encode([torch.tensor([4.0, 3.0, 1.0])])]
    (mean,) = average(payloads, [2, 1], like)
    assert torch.allclose(mean, torch.tensor([2.0, 1.0, 3.0]))


def test_one_contributor_is_passed_on_bit_for_bit():
    like = tensors([(4, 3), (11,)])
    for mean, tensor in zip(average([None, encode(like)], [5, 3], like), like, strict=True):
        assert torch.equal(mean, tensor)


def test_a_member_that_contributes_nothing_cannot_spoil_the_mean():
    like = [torch.ones(2)]
    poisoned = encode([torch.full((2,), float("nan"))])
    del poisoned
    (mean,) = average([encode(like), None], [1, 0], like)
    assert torch.equal(mean, torch.ones(2))
