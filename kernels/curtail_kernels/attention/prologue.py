"""The prologue of attention: the rotation and the norm of queries and keys in one kernel."""
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import triton
import triton.language as tl
from torch import Tensor

from curtail_kernels.attention.configs import Config
from curtail_kernels.attention.tiles import load_tile, store_tile


@triton.jit
def _place(
    x, y, rms, c, s, batch, head, heads, start, T, gain, eps, x_b, x_t, x_h, y_b, y_t, y_h,
    BLOCK: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Write y = gain r z, z = rotate(x), and r = 1 / sqrt(mean(z^2) + eps) for some tokens of one head."""
    half: tl.constexpr = D // 2
    x1 = load_tile(x, batch, head, start, T, x_b, x_t, x_h, BLOCK, half, False, True).to(tl.float32)
    x2 = load_tile(x + half, batch, head, start, T, x_b, x_t, x_h, BLOCK, half, False, True).to(tl.float32)
    z1 = x1 * c + x2 * s
    z2 = x2 * c - x1 * s
    r = tl.rsqrt((tl.sum(z1 * z1, 1) + tl.sum(z2 * z2, 1)) / D + eps)
    by = (r * gain)[:, None]
    store_tile(y, z1 * by, batch, head, start, T, y_b, y_t, y_h, BLOCK, half)
    store_tile(y + half, z2 * by, batch, head, start, T, y_b, y_t, y_h, BLOCK, half)
    local = start + tl.arange(0, BLOCK)
    tl.store(rms + (batch.to(tl.int64) * T + local) * heads + head, r, mask=local < T)


@triton.jit(do_not_specialize=["T"])
def rotary_norm_kernel(
    q, k, cos, sin, q_out, k_out, q_rms, k_rms, T, q_heads, k_heads, gain, eps,
    q_b, q_t, q_h, k_b, k_t, k_h, qo_b, qo_t, qo_h, ko_b, ko_t, ko_h, table_t,
    D: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Grid (blocks of tokens, H + Hkv, B): first the heads of q, then those of k."""
    start = tl.program_id(0) * BLOCK
    head = tl.program_id(1)
    batch = tl.program_id(2)
    local = start + tl.arange(0, BLOCK)
    table = local[:, None] * table_t + tl.arange(0, D // 2)[None, :]
    inside = (local < T)[:, None]
    c = tl.load(cos + table, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(sin + table, mask=inside, other=0.0).to(tl.float32)
    if head < q_heads:
        _place(
            q, q_out, q_rms, c, s, batch, head, q_heads, start, T, gain, eps,
            q_b, q_t, q_h, qo_b, qo_t, qo_h, BLOCK, D,
        )  # fmt: skip
    else:
        _place(
            k, k_out, k_rms, c, s, batch, head - q_heads, k_heads, start, T, gain, eps,
            k_b, k_t, k_h, ko_b, ko_t, ko_h, BLOCK, D,
        )  # fmt: skip


def launch_rotary_norm(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    q_out: Tensor,
    k_out: Tensor,
    q_rms: Tensor,
    k_rms: Tensor,
    *,
    gain: float,
    eps: float,
    config: Config,
) -> None:
    """Write what `reference_rotary_norm` gives for q [B, T, H, D] and k [B, T, Hkv, D].

    cos and sin: [T, 1, D / 2], fp32 or 16 bit, equal strides. q_rms and k_rms: 1 / rms, fp32 [B, T, H] and
    [B, T, Hkv], contiguous. All arithmetic is fp32.
    """
    B, T, H, D = q.shape
    kv_heads = k.size(2)
    rotary_norm_kernel[(triton.cdiv(T, config.block_m), H + kv_heads, B)](
        q,
        k,
        cos,
        sin,
        q_out,
        k_out,
        q_rms,
        k_rms,
        T,
        H,
        kv_heads,
        gain,
        eps,
        *q.stride()[:3],
        *k.stride()[:3],
        *q_out.stride()[:3],
        *k_out.stride()[:3],
        cos.stride(0),
        D=D,
        BLOCK=config.block_m,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        enable_fp_fusion=True,
    )
