"""Softcap and cross-entropy of rows of logits, which become their own gradient in place.

For a row z [V] with target y, softcap c and weight s:

    u = c tanh(z / c)            (u = z without a cap)
    L = log sum_j exp(u_j)
    loss = L - u_y
    dz_j = s (exp(u_j - L) - [j = y]) (1 - tanh(z_j / c)^2)

A row whose target is the ignored one has loss 0 and dz 0. With a small enough cap exp(u) cannot overflow and
no maximum is subtracted; else each lane keeps a running one.
"""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
NUM_WARPS = 8
LARGEST_BOUND = 60.0
"""exp of a logit up to here, summed over 2^17 of them and more, stays finite in fp32."""


@triton.jit
def _capped(z, softcap, CAPPED: tl.constexpr, EXACT: tl.constexpr):
    """(u, du / dz) = (c t, 1 - t^2) with t = tanh(v), v = z / c; (z, 1) without a cap.

    With e = exp(-2 |v|) and r = 1 / (1 + e): t = +-(1 - e) r and 1 - t^2 = 4 e r^2, which keeps its digits
    where t is near 1. Near 0, t does not: there EXACT takes a polynomial, good to 1.1e-8. fp32 wants it; of
    logits with 16 bits, which are less exact than that, nobody would see it.
    """
    if CAPPED:
        v = z / softcap
        e = tl.exp(-2 * tl.abs(v))
        r = 1 / (1 + e)
        t = (1 - e) * r
        t = tl.where(v < 0, -t, t)
        if EXACT:
            s = v * v
            p = -0.333333304 + s * (0.13332924 + s * (-0.0538751382 + s * (0.021116214 - s * 0.00627638759)))
            t = tl.where(s < 0.36, v + v * s * p, t)
        return softcap * t, 4 * e * r * r
    else:
        return z, tl.full(z.shape, 1.0, tl.float32)


@triton.jit
def head_rows_kernel(
    logits,
    targets,
    scales,
    losses,
    V,
    width,
    stride,
    softcap,
    ignore_index,
    CAPPED: tl.constexpr,
    BOUNDED: tl.constexpr,
    GRADIENT: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row a program: a pass for L and the loss, and, for the gradient, one that overwrites the logits."""
    row = tl.program_id(0)
    z_row = logits + row.to(tl.int64) * stride
    target = tl.load(targets + row)
    counts = target != ignore_index
    valid = (target >= 0) & (target < V)
    lanes = tl.arange(0, BLOCK)
    EXACT: tl.constexpr = logits.dtype.element_ty == tl.float32

    most = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, width, BLOCK):
        column = start + lanes
        z = tl.load(z_row + column, mask=column < width, other=0.0).to(tl.float32)
        u, _ = _capped(z, softcap, CAPPED, EXACT)
        if BOUNDED:
            total += tl.where(column < V, tl.exp(u), 0.0)
        else:
            u = tl.where(column < V, u, float("-inf"))
            higher = tl.maximum(most, u, propagate_nan=tl.PropagateNan.ALL)
            base = tl.where(higher == float("-inf"), 0.0, higher)
            total = total * tl.exp(most - base) + tl.exp(u - base)
            most = higher
    if BOUNDED:
        L = tl.log(tl.sum(total, 0))
    else:
        top = tl.max(most, 0)
        L = top + tl.log(tl.sum(total * tl.exp(most - top), 0))

    z_target = tl.load(z_row + target, mask=counts & valid, other=float("nan")).to(tl.float32)
    u_target, _ = _capped(z_target, softcap, CAPPED, EXACT)
    tl.store(losses + row, tl.where(counts, L - u_target, 0.0))

    if GRADIENT:
        scale = tl.load(scales + row) if SCALED else 1.0
        tl.debug_barrier()  # the target's logit is read before any thread overwrites it
        for start in range(0, width, BLOCK):
            column = start + lanes
            z = tl.load(z_row + column, mask=column < width, other=0.0).to(tl.float32)
            u, slope = _capped(z, softcap, CAPPED, EXACT)
            dz = scale * (tl.exp(u - L) - tl.where(column == target, 1.0, 0.0)) * slope
            dz = tl.where(counts & (column < V), dz, 0.0)
            tl.store(z_row + column, dz.to(logits.dtype.element_ty), mask=column < width)


def launch_head_rows(
    logits: Tensor,
    targets: Tensor,
    losses: Tensor,
    V: int,
    *,
    softcap: float,
    ignore_index: int,
    gradient: bool,
    scales: Tensor | None = None,
    block: int = BLOCK,
    num_warps: int = NUM_WARPS,
) -> None:
    """Write each row's loss and, if `gradient`, overwrite the logits by dz.

    Args:
        logits: [n, W], W >= V; columns from V on are padding: never counted, 0 in the gradient.
        targets: [n] int64. One that is neither ignored nor in [0, V) makes its loss NaN.
        losses: [n] fp32, written.
        V: Number of logits.
        softcap: c; 0: no cap.
        ignore_index: The target that counts for nothing.
        gradient: Whether dz is wanted.
        scales: [n] fp32, s of each row; None: 1.
        block: Columns at once.
        num_warps: Of a program.
    """
    if not logits.size(0):
        return
    head_rows_kernel[(logits.size(0),)](
        logits,
        targets,
        losses if scales is None else scales,
        losses,
        V,
        logits.size(1),
        logits.stride(0),
        softcap if softcap else 1.0,
        ignore_index,
        CAPPED=softcap > 0,
        BOUNDED=0 < softcap <= LARGEST_BOUND,
        GRADIENT=gradient,
        SCALED=scales is not None,
        BLOCK=block,
        num_warps=num_warps,
        enable_fp_fusion=True,
    )


def reference_head_rows(
    logits: Tensor,
    targets: Tensor,
    losses: Tensor,
    V: int,
    *,
    softcap: float,
    ignore_index: int,
    gradient: bool,
    scales: Tensor | None = None,
) -> None:
    """The same in plain torch, in fp32 at least; arguments as of `launch_head_rows`."""
    z = logits[:, :V].to(torch.promote_types(logits.dtype, torch.float32))
    t = torch.tanh(z / softcap) if softcap else torch.zeros_like(z)
    capped = softcap * t if softcap else z
    log_p = capped.log_softmax(dim=1)
    counts = targets != ignore_index
    valid = (targets >= 0) & (targets < V)
    place = torch.where(valid, targets, 0).unsqueeze(1)
    found = torch.where(valid, log_p.gather(1, place).squeeze(1), torch.nan)
    losses.copy_(torch.where(counts, -found, 0.0))
    if gradient:
        hit = torch.zeros_like(z).scatter_(1, place, valid.to(z.dtype).unsqueeze(1))
        dz = (log_p.exp() - hit) * (1 - t * t)
        if scales is not None:
            dz *= scales.unsqueeze(1)
        logits[:, :V] = torch.where(counts.unsqueeze(1), dz, 0.0)
        logits[:, V:] = 0
