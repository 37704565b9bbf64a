"""Launches that are not fit for Hopper, each for a reason of its own; one at the end that is."""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl


@triton.jit
def _product(a, b, out, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros([M, N], tl.float32)
    for start in range(0, n, K):
        left = tl.load(a + rows[:, None] * n + start + inner[None, :])
        right = tl.load(b + (start + inner)[:, None] * N + columns[None, :])
        acc = tl.dot(left, right, acc)
    tl.store(out + rows[:, None] * N + columns[None, :], acc)


@triton.jit
def _weights(a, b, out, sums, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """Weights that are rounded for a product, and summed as they were rounded before it."""
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    left = tl.load(a + rows[:, None] * K + inner[None, :])
    right = tl.load(b + inner[:, None] * N + columns[None, :])
    acc = tl.zeros([M, N], tl.float32)
    total = tl.zeros([M], tl.float32)
    for _ in range(4):
        weights = tl.exp2(tl.dot(left, tl.trans(left))).to(tl.bfloat16)
        total += tl.sum(weights.to(tl.float32), 1)
        acc = tl.dot(weights, right, acc)
    tl.store(out + rows[:, None] * N + columns[None, :], acc)
    tl.store(sums + rows, total)


def hopper_launches() -> Iterator[str]:
    a, b, out = (
        torch.zeros(2**16, dtype=torch.bfloat16),
        torch.zeros(2**16, dtype=torch.bfloat16),
        torch.zeros(2**16),
    )
    for label, M, N, K, warps, stages in (
        ("old units", 16, 16, 32, 4, 2),
        ("spills", 128, 256, 32, 4, 2),
        ("shared memory", 128, 256, 128, 8, 4),
        ("fit tma", 128, 128, 64, 8, 3),
        ("fit", 128, 128, 64, 8, 3),
    ):
        _product[(1,)](a, b, out, 512, M=M, N=N, K=K, num_warps=warps, num_stages=stages)
        yield label
    _weights[(1,)](a, b, out, out, M=128, N=64, K=128, num_warps=8, num_stages=2)
    yield "conversions"
