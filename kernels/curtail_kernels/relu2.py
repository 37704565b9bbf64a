"""The square of the positive part, y = relu(x)^2, in one pass forward and one backward.

Forward reads x and writes y; backward reads x and dy and writes dx = 2 relu(x) dy; x alone is saved. The
arithmetic is fp32 and rounded once, so that the bytes are those of torch's relu and square. It is a pass of
its own, not the end of the product that makes x: whether a fused product reaches cuBLAS's speed can only be
said where both can be timed.
"""
# ruff: noqa: ANN001, ANN201
# pyright: reportOperatorIssue=false, reportCallIssue=false

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
NUM_WARPS = 8


@triton.jit
def relu2_kernel(x, y, count, BLOCK: tl.constexpr):
    """Forward; a program takes BLOCK neighbours of flat tensors."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    positive = tl.where(value <= 0, 0.0, value)  # not tl.maximum: NaN stays NaN
    tl.store(y + at, (positive * positive).to(y.dtype.element_ty), mask=inside)


@triton.jit
def relu2_backward_kernel(x, dy, dx, count, BLOCK: tl.constexpr):
    """Backward; a program takes BLOCK neighbours of flat tensors."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    above = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    slope = tl.where(value <= 0, 0.0, 2 * value * above)
    tl.store(dx + at, slope.to(dx.dtype.element_ty), mask=inside)


def launch_relu2(x: Tensor, y: Tensor, block: int = BLOCK, num_warps: int = NUM_WARPS) -> None:
    """Write relu(x)^2 to y; both contiguous, of one shape and dtype."""
    if x.numel():
        relu2_kernel[(triton.cdiv(x.numel(), block),)](
            x, y, x.numel(), BLOCK=block, num_warps=num_warps, enable_fp_fusion=False
        )


def launch_relu2_backward(
    x: Tensor, dy: Tensor, dx: Tensor, block: int = BLOCK, num_warps: int = NUM_WARPS
) -> None:
    """Write 2 relu(x) dy to dx; all contiguous, of one shape and dtype."""
    if x.numel():
        relu2_backward_kernel[(triton.cdiv(x.numel(), block),)](
            x, dy, dx, x.numel(), BLOCK=block, num_warps=num_warps, enable_fp_fusion=False
        )


def reference_relu2(x: Tensor) -> Tensor:
    """The same in plain torch, with torch's own gradient."""
    return torch.relu(x).square()


@torch.library.custom_op("curtail::relu2", mutates_args=(), device_types="cuda")
def _relu2(x: Tensor) -> Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    launch_relu2(x, y)
    return y


@torch.library.custom_op("curtail::relu2_backward", mutates_args=(), device_types="cuda")
def _relu2_backward(x: Tensor, dy: Tensor) -> Tensor:
    x, dy = x.contiguous(), dy.contiguous()
    dx = torch.empty_like(x)
    launch_relu2_backward(x, dy, dx)
    return dx


@_relu2.register_kernel("cpu")
def _(x: Tensor) -> Tensor:
    return reference_relu2(x.contiguous())


@_relu2_backward.register_kernel("cpu")
def _(x: Tensor, dy: Tensor) -> Tensor:
    x, dy = x.contiguous(), dy.contiguous()
    return torch.where(x <= 0, 0.0, dy * (2 * x))


@_relu2.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_relu2_backward.register_fake
def _(x: Tensor, dy: Tensor) -> Tensor:
    del dy
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy: Tensor) -> Tensor:
    return _relu2_backward(*ctx.saved_tensors, dy)


_relu2.register_autograd(_backward, setup_context=_save)


def relu2(x: Tensor) -> Tensor:
    """relu(x)^2 of any shape, in x's dtype (fp32, bf16, fp16); contiguous, whatever x is.

    Differentiable once. On CPU tensors it is plain torch.
    """
    return _relu2(x)
