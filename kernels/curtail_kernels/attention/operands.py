"""How a tensor reaches a kernel: as a pointer with strides, or as a descriptor for the bulk copy engine."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from curtail_kernels.attention.configs import Path

Compiled = Any
"""What a launch gives: the kernel as Triton compiled it, which knows its spills; None in the interpreter."""


def operand(x: Tensor, block: int, path: Path) -> Tensor | TensorDescriptor:  # x: [B, T, H, D]
    """Give x itself, or its descriptor as [B, H, T, D] in tiles [1, 1, block, D]."""
    if path == "pointers":
        return x
    return TensorDescriptor.from_tensor(x.transpose(1, 2), [1, 1, block, x.size(-1)])


def describable(x: Tensor) -> bool:  # x: [B, T, H, D]
    """Whether the copy engine can read x: 16 bit, dense last dimension, all else in units of 16 bytes."""
    return (
        x.element_size() == 2
        and x.numel() > 0
        and x.stride(-1) == 1
        and x.data_ptr() % 16 == 0
        and all(stride % 8 == 0 for stride in x.stride()[:-1])
    )


def precision(dtype: torch.dtype) -> str:
    """Products of fp32 are exact ones; for 16 bit the word means nothing."""
    return "ieee" if dtype == torch.float32 else "tf32"


class Placing(NamedTuple):
    """What the rotation and the norm of queries and keys leave for their backward."""

    q_rms: Tensor
    """1 / rms, fp32 [B, T, H], contiguous."""
    k_rms: Tensor
    """1 / rms, fp32 [B, T, Hkv], contiguous."""
    cos: Tensor
    """[T, 1, D / 2]."""
    sin: Tensor
    """[T, 1, D / 2], strides as cos."""
    gain: float


class Unplaced(NamedTuple):
    """What the forward kernel needs of queries that it is to rotate and norm, and where it leaves them so."""

    placed: Tensor
    """Of q's shape and dtype; to be written."""
    rms: Tensor
    """1 / rms, fp32 [B, T, H], contiguous; to be written."""
    cos: Tensor
    """[T, 1, D / 2]."""
    sin: Tensor
    """[T, 1, D / 2], strides as cos."""
    gain: float
    eps: float


def placing_arguments(
    placing: Placing | None, of: Literal["q", "k"]
) -> tuple[Tensor | None, Tensor | None, Tensor | None, float, int]:
    """1 / rms, cos, sin, gain and the tables' stride as a kernel takes them."""
    if placing is None:
        return None, None, None, 1.0, 0
    rms = placing.q_rms if of == "q" else placing.k_rms
    return rms, placing.cos, placing.sin, placing.gain, placing.cos.stride(0)
