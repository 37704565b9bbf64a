"""Blocks of fp32 numbers as integers of 8 or 4 bits with a bf16 scale each: one pass there, one back.

With m = 2^(bits - 1) - 1, for a block x of neighbours, in fp32 and IEEE division:

    scale = bf16(max |x| / m)
    step  = scale, or 1 where scale is 0
    level = clamp(round(x / step), -m, m)         ties to even; NaN becomes 0
    rest  = x - level scale                       two roundings, no fused multiply-add

A payload is the scales, then the integers; two of 4 bits lie in one byte, the first in its lower half. bf16
is rounded here by its bits, and a scale that is not a number is written as 0xFFFF, as torch does on CPUs with
vectors. A pass moves 4 bytes a number and the payload; with residual and rest, 12 and the payload.
"""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportAttributeAccessIssue=false
# pyright: reportOptionalMemberAccess=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor

TILE = 4096
"""Numbers that a program takes."""
NUM_WARPS = 8


@triton.jit
def _scale_bits(largest):
    """bf16(largest) as the lower half of an int32; `largest` is int32, the bits of fp32 numbers >= 0."""
    rounded = (largest + 0x7FFF + ((largest >> 16) & 1)) >> 16
    return tl.where(largest > 0x7F800000, 0xFFFF, rounded)  # above infinity lie the NaN


@triton.jit
def encode_kernel(
    flat,
    residual,
    scales,
    integers,
    rest,
    numbers,
    packed,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    CARRIED: tl.constexpr,
    KEPT: tl.constexpr,
):
    """Encode ROWS blocks into `packed` bytes; CARRIED: residual added first, KEPT: rest written."""
    most: tl.constexpr = 2 ** (BITS - 1) - 1
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = row[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = at < numbers
    x = tl.load(flat + at, mask=inside, other=0.0)
    if CARRIED:
        x += tl.load(residual + at, mask=inside, other=0.0)

    magnitude = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF  # as integers they are ordered, NaN above all
    largest = tl.max(magnitude, 1).to(tl.float32, bitcast=True)
    divisor = tl.full([ROWS], most, tl.float32)
    bits = _scale_bits(tl.div_rn(largest, divisor).to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    tl.store(scales + row, bits.to(tl.int16), mask=row * BLOCK < numbers)

    scale = (bits << 16).to(tl.float32, bitcast=True)[:, None]
    step = tl.where(scale == 0, 1.0, scale)
    near = tl.div_rn(x, tl.broadcast_to(step, [ROWS, BLOCK]))
    near = (near + 12582912.0) - 12582912.0  # 1.5 x 2^23: what lies below 1 is rounded off, ties to even
    near = tl.where(near == near, tl.minimum(tl.maximum(near, -most), most), 0.0)
    level = near.to(tl.int32)
    if BITS == 8:
        tl.store(integers + at, (level & 0xFF).to(tl.uint8), mask=at < packed)
    else:
        low, high = tl.split(tl.reshape(level, [ROWS, BLOCK // 2, 2]))
        byte = row[:, None] * (BLOCK // 2) + tl.arange(0, BLOCK // 2)[None, :]
        pair = ((low & 0xF) | ((high & 0xF) << 4)).to(tl.uint8)
        tl.store(integers + byte, pair, mask=byte < packed)
    if KEPT:
        tl.store(rest + at, x - near * scale, mask=inside)


@triton.jit
def decode_kernel(
    scales,
    integers,
    flat,
    numbers,
    packed,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Decode ROWS blocks from `packed` bytes."""
    sign: tl.constexpr = 2 ** (BITS - 1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    at = row[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    bits = tl.load(scales + row, mask=row * BLOCK < numbers, other=0).to(tl.int32)
    scale = (bits << 16).to(tl.float32, bitcast=True)
    if BITS == 8:
        level = tl.load(integers + at, mask=at < packed, other=0).to(tl.int32)
    else:
        byte = row[:, None] * (BLOCK // 2) + tl.arange(0, BLOCK // 2)[None, :]
        pair = tl.load(integers + byte, mask=byte < packed, other=0).to(tl.int32)
        level = tl.reshape(tl.join(pair & 0xF, pair >> 4), [ROWS, BLOCK])
    value = ((level ^ sign) - sign).to(tl.float32)
    tl.store(flat + at, value * scale[:, None], mask=at < numbers)


def launch_encode(
    flat: Tensor,
    residual: Tensor | None,
    scales: Tensor,
    integers: Tensor,
    rest: Tensor | None,
    *,
    bits: int,
    block: int,
    tile: int = TILE,
    num_warps: int = NUM_WARPS,
) -> None:
    """Encode flat + residual.

    Args:
        flat: [numbers] fp32, contiguous like all here; at least one number.
        residual: [numbers] fp32, or None: nothing is added.
        scales: [blocks] int16, written: the bits of bf16.
        integers: [ceil(numbers x bits / 8)] uint8, written.
        rest: [numbers] fp32, written; it may be `flat` or the residual. None: not wanted.
        bits: 8 or 4.
        block: Numbers with one scale, a power of two.
        tile: Numbers a program takes, a multiple of the block.
        num_warps: Of a program.
    """
    encode_kernel[(triton.cdiv(flat.numel(), tile),)](
        flat,
        flat if residual is None else residual,
        scales,
        integers,
        flat if rest is None else rest,
        flat.numel(),
        integers.numel(),
        BITS=bits,
        BLOCK=block,
        ROWS=tile // block,
        CARRIED=residual is not None,
        KEPT=rest is not None,
        num_warps=num_warps,
        enable_fp_fusion=False,
    )


def launch_decode(
    scales: Tensor,
    integers: Tensor,
    flat: Tensor,
    *,
    bits: int,
    block: int,
    tile: int = TILE,
    num_warps: int = NUM_WARPS,
) -> None:
    """Write the numbers [numbers] of a payload to `flat` (fp32); the rest as of `launch_encode`."""
    decode_kernel[(triton.cdiv(flat.numel(), tile),)](
        scales,
        integers,
        flat,
        flat.numel(),
        integers.numel(),
        BITS=bits,
        BLOCK=block,
        ROWS=tile // block,
        num_warps=num_warps,
        enable_fp_fusion=False,
    )
