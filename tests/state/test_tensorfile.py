import io

import pytest
import torch
from safetensors.torch import load, save

from curtail_dist.state.raw import ELEMENTS
from curtail_dist.state.tensorfile import read_tensors, write_tensors

EVERY = {name: torch.arange(7).remainder(2).to(dtype) for name, dtype in ELEMENTS.items()}
EVERY |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 4), "cube": torch.randn(2, 3, 5)}
EVERY |= {"strided": torch.randn(4, 6).t()}


def same(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype
        assert tensor.shape == b[name].shape
        as_bytes = [one.contiguous().reshape(-1).view(torch.uint8) for one in (tensor, b[name])]
        assert torch.equal(*as_bytes)


def test_every_type_and_shape_comes_back():
    file = io.BytesIO()
    digest = write_tensors(file, EVERY, {"about": "these"})
    found = read_tensors(file)
    same(found.tensors, EVERY)
    assert found.facts == {"about": "these"}
    assert found.sha256 == digest


def test_safetensors_reads_it_and_is_read():
    file = io.BytesIO()
    write_tensors(file, EVERY)
    same(load(file.getvalue()), EVERY)
    contiguous = {name: tensor.contiguous() for name, tensor in EVERY.items()}
    same(read_tensors(io.BytesIO(save(contiguous))).tensors, EVERY)


def test_tensors_of_more_than_one_slice_are_whole(monkeypatch):
    monkeypatch.setattr("curtail_dist.state.tensorfile.SLICE_BYTES", 10)
    file = io.BytesIO()
    write_tensors(file, EVERY)
    same(read_tensors(file).tensors, EVERY)


def test_a_file_cut_anywhere_is_refused():
    file = io.BytesIO()
    write_tensors(file, {"a": torch.ones(2), "b": torch.zeros(3)})
    whole = file.getvalue()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            read_tensors(io.BytesIO(whole[:length]))
    with pytest.raises(ValueError, match="where its header names"):
        read_tensors(io.BytesIO(whole + b"x"))


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"3",
        b"{",
        b"\xff\xff",
        b"[" * 100_000,
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1099511627776, 1099511627776], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}}',
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(header):
    with pytest.raises(ValueError, match=r"."):
        read_tensors(io.BytesIO(len(header).to_bytes(8, "little") + header + bytes(4)))
    with pytest.raises(ValueError, match="no whole header"):
        read_tensors(io.BytesIO((2**63).to_bytes(8, "little") + header))
