"""The codec's operators on a CPU: the bytes of the library's codec, and errors."""

import pytest
import torch
from curtail_kernels.codec import decode, encode, encode_with_feedback, payload_size
from torch.library import opcheck

from curtail_dist.outer.codec import CODECS

KINDS = {"int8": (8, 128), "int4": (4, 64)}


def drawn(numbers: int) -> torch.Tensor:
    return torch.randn(numbers, generator=torch.Generator().manual_seed(numbers))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("numbers", [0, 1, 63, 64, 129, 1031])
def test_bytes_and_numbers_are_those_of_the_library(numbers, name):
    codec, flat, before = CODECS[name], drawn(numbers), drawn(numbers + 1)[1:].contiguous()
    payload = encode(flat, *KINDS[name])
    assert torch.equal(payload, codec.encode(flat))
    assert payload.numel() == payload_size(numbers, *KINDS[name]) == codec.size(numbers)
    assert torch.equal(decode(payload, numbers, *KINDS[name]), codec.decode(payload, numbers))
    fed, rest = encode_with_feedback(flat, before, *KINDS[name])
    assert torch.equal(fed, codec.encode(flat + before))
    assert torch.equal(rest, flat + before - codec.decode(fed, numbers))


@pytest.mark.parametrize("name", KINDS)
def test_torch_accepts_the_operators(name):
    flat, kind = drawn(200), KINDS[name]
    opcheck(torch.ops.curtail.blockwise_encode.default, (flat, *kind))
    opcheck(torch.ops.curtail.blockwise_encode_with_feedback.default, (flat, flat, *kind))
    opcheck(torch.ops.curtail.blockwise_encode_with_feedback.default, (flat, None, *kind))
    opcheck(torch.ops.curtail.blockwise_decode.default, (encode(flat, *kind), 200, *kind))


@pytest.mark.parametrize("name", KINDS)
def test_there_and_back_compiles_as_one_graph(name):
    def run(flat: torch.Tensor) -> torch.Tensor:
        payload, rest = encode_with_feedback(flat, None, *KINDS[name])
        return decode(payload, flat.numel(), *KINDS[name]) + rest

    flat = drawn(200)
    assert torch.equal(torch.compile(run, fullgraph=True, backend="aot_eager")(flat), run(flat))


def test_what_does_not_fit_is_said():
    flat = drawn(200)
    with pytest.raises(ValueError, match="must be flat, contiguous"):
        encode(flat.double(), 8, 128)
    with pytest.raises(ValueError, match="must be flat, contiguous"):
        encode(flat[::2], 8, 128)
    with pytest.raises(ValueError, match="it must be 4 or 8"):
        encode(flat, 5, 128)
    with pytest.raises(ValueError, match="a power of two"):
        encode(flat, 8, 96)
    with pytest.raises(ValueError, match="it must have 200"):
        encode_with_feedback(flat, flat[:100], 8, 128)
    with pytest.raises(ValueError, match="200 numbers it must have 204"):
        decode(torch.zeros(200, dtype=torch.uint8), 200, 8, 128)
