import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curtail_dist.state.layout import Layout
from curtail_dist.state.raw import ELEMENTS, raw
from curtail_dist.state.version import hash_of

SHAPES = st.lists(st.integers(0, 7), max_size=3)


@st.composite
def versions(draw):
    """Tensors of every stored type and odd shapes, some of them scalars or without an element."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    tensors = {}
    for index, (element, shape) in enumerate(
        draw(st.lists(st.tuples(st.sampled_from(sorted(ELEMENTS)), SHAPES), max_size=6))
    ):
        size = torch.empty(shape, dtype=ELEMENTS[element])
        if element == "BOOL":
            tensors[f"{9 - index}"] = torch.rand(shape, generator=generator) < 0.5
            continue
        content = torch.randint(0, 256, (size.nbytes,), generator=generator, dtype=torch.uint8)
        tensors[f"{9 - index}"] = content.view(ELEMENTS[element]).reshape(shape)
    return tensors


@settings(max_examples=150, deadline=None)
@given(versions(), st.integers(1, 40))
def test_chunks_are_the_bytes_in_order_each_of_one_length_but_the_last(tensors, chunk_bytes):
    layout = Layout(tensors, chunk_bytes)
    chunks = [b"".join(layout.pieces(index)) for index in range(layout.chunks)]
    assert b"".join(chunks) == b"".join(bytes(raw(tensors[name])) for name in sorted(tensors))
    assert all(len(chunk) == chunk_bytes for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= chunk_bytes for chunk in chunks[-1:])


@settings(max_examples=150, deadline=None)
@given(versions(), st.integers(1, 40))
def test_what_is_written_to_the_chunks_of_a_description_is_the_version(tensors, chunk_bytes):
    given_out = Layout(tensors, chunk_bytes)
    taken_in = Layout.parse(given_out.description)
    assert taken_in.chunks == given_out.chunks
    for index in range(given_out.chunks):
        content = b"".join(given_out.pieces(index))
        for piece in taken_in.pieces(index):
            piece[:], content = content[: len(piece)], content[len(piece) :]
        assert taken_in.digest(index) == given_out.digest(index)
    assert hash_of(taken_in.tensors) == hash_of(tensors)


@pytest.mark.parametrize(
    ("chunk_bytes", "tensors"),
    [
        (0, []),
        (-1, []),
        (True, []),
        (1.5, []),
        (2**60, []),
        (8, [["a", "F32", [1]], ["a", "F32", [1]]]),
        (8, [[7, "F32", [1]]]),
        (8, [["a", "F99", [1]]]),
        (8, [["a", "F32", [-1]]]),
        (8, [["a", "F32", [True]]]),
        (8, [["a", "F32", 3]]),
        (8, [["a", "F64", [2**20, 2**20, 2**20]]]),
        (8, [["a", "F64"]]),
    ],
)
def test_what_is_no_description_is_refused_before_memory_is_taken(chunk_bytes, tensors):
    with pytest.raises(ValueError, match=r"."):
        Layout.parse({"chunk_bytes": chunk_bytes, "tensors": tensors})
