"""Muon's orthogonalisation with each symmetric product computed once.

Polar Express approaches the orthogonal factor of X by X <- a X + (b A + c A A) X with A = X X^T. A and
b A + c A A are symmetric: of their blocks only those on and below the diagonal are computed, and each is
written a second time, transposed. For S = min(m, n) and R = max(m, n) that leaves, a step and matrix,
S^2 R + S^3 + 2 S^2 R operations of 2 S^2 R + 2 S^3 + 2 S^2 R: two thirds for a square. The last product is
torch's. All equal matrices go through one launch.
"""
# ruff: noqa: ANN001, ANN201, PLR0913
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportCallIssue=false

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

Polynomials = Sequence[tuple[float, float, float]]
Product = Callable[[Tensor, Tensor | None, float, float], Tensor]


class Config(NamedTuple):
    """The shape of one program: `side` x `side` numbers of the result, `depth` terms of each at once."""

    side: int
    depth: int
    num_warps: int
    num_stages: int


HOPPER = Config(128, 64, 8, 4)
"""For bf16 and fp16 with rows that begin at 16 bytes."""
OTHERS = Config(64, 32, 4, 2)
"""For all else."""


@triton.jit
def symmetric_product_kernel(
    x,
    addend,
    out,
    S,
    R,
    x_matrix,
    x_row,
    addend_matrix,
    addend_row,
    out_matrix,
    out_row,
    alpha,
    beta,
    ADDED: tl.constexpr,
    SIDE: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """One block of alpha x x^T + beta addend, and its mirror image. Grid: (triangle, matrices)."""
    index = tl.program_id(0)
    i = ((tl.sqrt(8.0 * index.to(tl.float32) + 1.0) - 1.0) * 0.5).to(tl.int32)
    i = tl.where(i * (i + 1) // 2 > index, i - 1, i)  # the root may be off by one step
    i = tl.where((i + 1) * (i + 2) // 2 <= index, i + 1, i)
    j = index - i * (i + 1) // 2  # row i of blocks holds i + 1 of them
    matrix = tl.program_id(1).to(tl.int64)
    rows = i * SIDE + tl.arange(0, SIDE)
    columns = j * SIDE + tl.arange(0, SIDE)
    depth = tl.arange(0, DEPTH)

    x += matrix * x_matrix
    left = x + rows.to(tl.int64)[:, None] * x_row + depth[None, :]
    right = x + columns.to(tl.int64)[None, :] * x_row + depth[:, None]
    total = tl.zeros([SIDE, SIDE], tl.float32)
    for start in range(0, R, DEPTH):
        more = depth < R - start
        a = tl.load(left, mask=(rows < S)[:, None] & more[None, :], other=0.0)
        b = tl.load(right, mask=(columns < S)[None, :] & more[:, None], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
        left += DEPTH
        right += DEPTH
    total *= alpha

    inside = (rows < S)[:, None] & (columns < S)[None, :]
    if ADDED:
        at = rows.to(tl.int64)[:, None] * addend_row + columns[None, :]
        plus = tl.load(addend + matrix * addend_matrix + at, mask=inside, other=0.0)
        total += beta * plus.to(tl.float32)
    block = total.to(out.dtype.element_ty)
    out += matrix * out_matrix
    tl.store(out + rows.to(tl.int64)[:, None] * out_row + columns[None, :], block, mask=inside)
    if i != j:
        mirror = out + columns.to(tl.int64)[:, None] * out_row + rows[None, :]
        tl.store(mirror, tl.trans(block), mask=(columns < S)[:, None] & (rows < S)[None, :])


def launch_symmetric_product(
    x: Tensor, addend: Tensor | None, out: Tensor, *, alpha: float, beta: float, config: Config
) -> None:
    """Write alpha x x^T + beta addend.

    Args:
        x: [K, S, R]; the last dimension contiguous, here and below.
        addend: [K, S, S], symmetric, or None: nothing is added.
        out: [K, S, S], of x's dtype, written.
        alpha: Factor of the product.
        beta: Factor of the addend.
        config: Blocks and warps.
    """
    K, S, R = x.shape
    if not K or not S:
        return
    blocks = triton.cdiv(S, config.side)
    other = x if addend is None else addend
    symmetric_product_kernel[(blocks * (blocks + 1) // 2, K)](
        x,
        other,
        out,
        S,
        R,
        x.stride(0),
        x.stride(1),
        other.stride(0),
        other.stride(1),
        out.stride(0),
        out.stride(1),
        alpha,
        beta,
        ADDED=addend is not None,
        SIDE=config.side,
        DEPTH=config.depth,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        enable_fp_fusion=True,
    )


def config_for(x: Tensor, capability: tuple[int, int]) -> Config:
    """The large blocks where they fit: rows that do not begin at 16 bytes take too many registers in them."""
    aligned = all(size % 16 == 0 for size in (x.size(1), x.size(2), x.stride(0), x.stride(1)))
    return HOPPER if capability == (9, 0) and x.element_size() == 2 and aligned else OTHERS


def reference_symmetric_product(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    """The same as `symmetric_product` in plain torch."""
    return alpha * (x @ x.mT) if addend is None else torch.baddbmm(addend, x, x.mT, beta=beta, alpha=alpha)


@torch.library.custom_op("curtail::symmetric_product", mutates_args=(), device_types="cuda")
def _symmetric_product(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    x = x if x.stride(-1) == 1 else x.contiguous()
    if addend is not None and addend.stride(-1) != 1:
        addend = addend.contiguous()
    out = x.new_empty(x.size(0), x.size(1), x.size(1))
    config = config_for(x, torch.cuda.get_device_capability(x.device))
    launch_symmetric_product(x, addend, out, alpha=alpha, beta=beta, config=config)
    return out


@_symmetric_product.register_kernel("cpu")
def _(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    return reference_symmetric_product(x, addend, alpha, beta)


@_symmetric_product.register_fake
def _(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    del addend, alpha, beta
    return x.new_empty(x.size(0), x.size(1), x.size(1))


def symmetric_product(
    x: Tensor, addend: Tensor | None = None, *, alpha: float = 1.0, beta: float = 1.0
) -> Tensor:
    """Return alpha x x^T + beta addend, [K, S, S], of x [K, S, R] and a symmetric addend. No gradient."""
    if x.dim() != 3:
        raise ValueError(f"x is {list(x.shape)}; it must be a stack of matrices [K, S, R]")
    square = (x.size(0), x.size(1), x.size(1))
    if addend is not None and (addend.shape != square or addend.dtype != x.dtype):
        raise ValueError(
            f"the addend is {list(addend.shape)} of {addend.dtype}; it must be {list(square)} of {x.dtype}"
        )
    return _symmetric_product(x, addend, alpha, beta)


def orthogonalize(
    g: Tensor,
    polynomials: Polynomials,
    *,
    norm_margin: float,
    norm_eps: float,
    product: Product | None = None,
) -> Tensor:
    """Approach the orthogonal factor U V^T of each g = U S V^T by x <- a x + (b A + c A A) x, A = x x^T.

    Computed in bf16 on CUDA; elsewhere in fp32, fp64 in fp64.

    Args:
        g: [K, m, n].
        polynomials: (a, b, c) of each step.
        norm_margin: g is divided by so many Frobenius norms first.
        norm_eps: Added to that divisor, so that 0 stays 0.
        product: Takes x, addend, alpha and beta as `symmetric_product` does, which is what None means.

    Returns:
        [K, m, n] in g's dtype.
    """
    multiply = product or _symmetric_product
    x = g.bfloat16() if g.is_cuda else g.to(torch.promote_types(g.dtype, torch.float32))
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x  # the small Gram matrix: [K, S, S] with S = min(m, n)
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) * norm_margin + norm_eps)).contiguous()
    for a, b, c in polynomials:
        gram = multiply(x, None, 1.0, 0.0)
        poly = multiply(gram, gram, c, b)  # b A + c A A: A is its own transpose
        x = torch.baddbmm(x, poly, x, beta=a)  # a X + (b A + c A A) X
    return (x.mT if tall else x).to(g.dtype)


def reference_orthogonalize(
    g: Tensor, polynomials: Polynomials, *, norm_margin: float, norm_eps: float
) -> Tensor:
    """The same in plain torch, with each product computed whole."""
    return orthogonalize(
        g, polynomials, norm_margin=norm_margin, norm_eps=norm_eps, product=reference_symmetric_product
    )
