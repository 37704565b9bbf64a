"""The MLP's products with relu squared at their end: what a pass would read again is still in registers.

Two products of the MLP have it beside them, both with as many columns as the MLP is wide inside:

    h = relu(x U^T)^2               forward: z = x U^T is written nowhere
    dz = 2 sqrt(h) (dout D)         backward: dh = dout D is written nowhere

A program stays on its multiprocessor and takes tile after tile of the result, bands of GROUP rows of tiles
after one another, so that what is read twice is still in the second cache. Operands come and results go by
the bulk copy engine, in halves of a tile; what lies outside a tensor reads 0 and is not written.
"""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false, reportGeneralTypeIssues=false

from typing import Literal, NamedTuple

import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from curtail_kernels.attention.operands import Compiled, describable, precision

GROUP = 8
"""Rows of tiles in a band."""
LEAST_ROWS = 4096
"""Of what a product reads; with fewer, as in generation, tiles are too few and cuBLAS is left to it."""

Product = Literal["squares", "slopes"]


class Config(NamedTuple):
    """The shape of one program."""

    block_m: int
    """Rows of a tile."""
    block_n: int
    """Columns of a tile."""
    depth: int
    """Terms of each number at once."""
    num_warps: int
    num_stages: int
    resident: int
    """Programs that share a multiprocessor."""
    flat: bool
    """Whether the loads of the next tile begin before this one is written."""


TABLE: dict[tuple[Product, tuple[int, int]], Config] = {
    ("squares", (9, 0)): Config(128, 256, 64, 8, 3, 1, True),
    ("slopes", (9, 0)): Config(128, 128, 64, 4, 3, 2, False),
}
"""(product, compute capability) -> config, for 16-bit tensors; other devices have none. At a tile's end
slopes wait for h, and another program goes on meanwhile."""

IN_PRODUCT: dict[tuple[Product, tuple[int, int]], bool] = {}
"""(product, compute capability) -> whether it is faster than cuBLAS and a pass. No device is here before it
was measured."""


@triton.jit
def _finish(value, h, out, row, column, SLOPES: tl.constexpr):
    """Write half a tile, [BLOCK_M, BLOCK_N / 2], of relu(value)^2, or of 2 sqrt(h) value."""
    if SLOPES:
        squared = h.load([row, column]).to(tl.float32)
        value = tl.where(squared == 0, 0.0, 2 * tl.sqrt(squared) * value)
    else:
        positive = tl.where(value <= 0, 0.0, value)  # not tl.maximum: NaN stays NaN
        value = positive * positive
    out.store([row, column], value.to(out.dtype))


@triton.jit(do_not_specialize=["M"])
def product_kernel(
    a,
    b,
    h,
    out,
    M,
    N,
    K,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUP: tl.constexpr,
    SLOPES: tl.constexpr,
    FLAT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (programs). a is [M, K]; b [N, K], or [K, N] if SLOPES; h, None if not, and out [M, N]."""
    half: tl.constexpr = BLOCK_N // 2
    rows = tl.cdiv(M, BLOCK_M)
    columns = tl.cdiv(N, BLOCK_N)
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=FLAT):
        band = tile // (GROUP * columns)
        place = tile % (GROUP * columns)
        height = tl.minimum(rows - band * GROUP, GROUP)
        row = (band * GROUP + place % height) * BLOCK_M
        column = place // height * BLOCK_N
        total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for k in range(0, K, DEPTH):
            left = a.load([row, k])
            right = b.load([k, column]) if SLOPES else b.load([column, k]).T
            total = tl.dot(left, right, total, input_precision=PRECISION)
        low, high = total.reshape(BLOCK_M, 2, half).permute(0, 2, 1).split()
        _finish(low, h, out, row, column, SLOPES)
        _finish(high, h, out, row, column + half, SLOPES)


def launch_squares_product(x: Tensor, up: Tensor, h: Tensor, *, config: Config, processors: int) -> Compiled:
    """Write relu(x up^T)^2.

    Args:
        x: [M, K]; here and below of one dtype, and fit for the bulk copy engine: see `describable`.
        up: [N, K].
        h: [M, N], written.
        config: Tiles and warps.
        processors: The device's multiprocessors.
    """
    return _launch(x, up, None, h, config, processors)


def launch_slopes_product(
    dout: Tensor, down: Tensor, h: Tensor, dz: Tensor, *, config: Config, processors: int
) -> Compiled:
    """Write 2 sqrt(h) (dout down).

    Args:
        dout: [M, K]; all as for `launch_squares_product`.
        down: [K, N].
        h: [M, N].
        dz: [M, N], written.
        config: Tiles and warps.
        processors: The device's multiprocessors.
    """
    return _launch(dout, down, h, dz, config, processors)


def _launch(a: Tensor, b: Tensor, h: Tensor | None, out: Tensor, config: Config, processors: int) -> Compiled:
    (M, K), N = a.shape, out.size(1)
    tiles = triton.cdiv(M, config.block_m) * triton.cdiv(N, config.block_n)
    halves = [config.block_m, config.block_n // 2]
    b_tile = [config.block_n, config.depth] if h is None else [config.depth, config.block_n]
    return product_kernel[(min(tiles, processors * config.resident),)](
        TensorDescriptor.from_tensor(a, [config.block_m, config.depth]),
        TensorDescriptor.from_tensor(b, b_tile),
        None if h is None else TensorDescriptor.from_tensor(h, halves),
        TensorDescriptor.from_tensor(out, halves),
        M,
        N,
        K,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        DEPTH=config.depth,
        GROUP=GROUP,
        SLOPES=h is not None,
        FLAT=config.flat,
        PRECISION=precision(a.dtype),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        enable_fp_fusion=True,
    )


def is_in_product(
    product: Product, asked: bool | None, capability: tuple[int, int], *operands: Tensor
) -> bool:
    """Whether a product is to have relu squared in its epilogue.

    Args:
        product: Which.
        asked: The caller's word; None: as the table says, where the operands are fit for it.
        capability: The device's compute capability.
        operands: What the kernel reads, the one with a row for each of the result's first.

    Raises:
        ValueError: It was asked for, and cannot be.
    """
    reason = _hindrance(product, capability, operands)
    if asked and reason is not None:
        raise ValueError(f"relu squared cannot be in the product: {reason}; leave in_product out")
    if asked is None:
        measured = IN_PRODUCT.get((product, capability), False)
        return reason is None and measured and operands[0].size(0) >= LEAST_ROWS
    return asked


def _hindrance(product: Product, capability: tuple[int, int], operands: tuple[Tensor, ...]) -> str | None:
    if (product, capability) not in TABLE:
        return f"the device is of compute capability {capability}; it must be one of {_capabilities(product)}"
    if all(describable(x) for x in operands):
        return None
    shapes = ", ".join(f"{list(x.shape)} of {x.dtype}" for x in operands)
    return f"operands are {shapes}; they must be of 16 bit, not empty, with rows that begin at 16 bytes"


def _capabilities(product: Product) -> list[tuple[int, int]]:
    return [capability for each, capability in TABLE if each == product]
