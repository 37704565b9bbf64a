"""The square of the positive part between the MLP's products, as a pass of its own, forward and backward.

h = relu(z)^2 takes z and leaves h; dz = 2 sqrt(h) dh takes h and dh and leaves dz: sqrt(h) is relu(z) again,
but for the rounding of h, which moves it by half of what rounding moved z. So z need not be kept, and both
may work in place. The arithmetic is fp32, and rounded once; h has the bytes of torch's relu and square.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportOperatorIssue=false, reportCallIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
NUM_WARPS = 8


@triton.jit
def squares_kernel(z, h, count, BLOCK: tl.constexpr):
    """Forward; a program takes BLOCK neighbours of flat tensors."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(z + at, mask=inside, other=0.0).to(tl.float32)
    positive = tl.where(value <= 0, 0.0, value)  # not tl.maximum: NaN stays NaN
    tl.store(h + at, (positive * positive).to(h.dtype.element_ty), mask=inside)


@triton.jit
def slopes_kernel(h, dh, dz, count, BLOCK: tl.constexpr):
    """Backward; a program takes BLOCK neighbours of flat tensors."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    squared = tl.load(h + at, mask=inside, other=0.0).to(tl.float32)
    above = tl.load(dh + at, mask=inside, other=0.0).to(tl.float32)
    slope = 2 * tl.sqrt(squared) * above
    tl.store(dz + at, tl.where(squared == 0, 0.0, slope).to(dz.dtype.element_ty), mask=inside)


def launch_squares(z: Tensor, h: Tensor, block: int = BLOCK, num_warps: int = NUM_WARPS) -> None:
    """Write relu(z)^2 to h, which may be z; both contiguous, of one shape and dtype."""
    if z.numel():
        squares_kernel[(triton.cdiv(z.numel(), block),)](
            z, h, z.numel(), BLOCK=block, num_warps=num_warps, enable_fp_fusion=False
        )


def launch_slopes(h: Tensor, dh: Tensor, dz: Tensor, block: int = BLOCK, num_warps: int = NUM_WARPS) -> None:
    """Write 2 sqrt(h) dh to dz, which may be dh; all contiguous, of one shape and dtype."""
    if h.numel():
        slopes_kernel[(triton.cdiv(h.numel(), block),)](
            h, dh, dz, h.numel(), BLOCK=block, num_warps=num_warps, enable_fp_fusion=False
        )


def reference_squares(z: Tensor) -> Tensor:
    """The same as `launch_squares` in plain torch."""
    return torch.relu(z).square()


def reference_slopes(h: Tensor, dh: Tensor) -> Tensor:
    """The same as `launch_slopes` in plain torch."""
    return torch.where(h == 0, 0.0, dh * (2 * h.sqrt()))
