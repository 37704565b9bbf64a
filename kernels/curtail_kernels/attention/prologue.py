"""The prologue of attention: the rotation and the norm of queries and keys in one kernel."""
# ruff: noqa: ANN001, ANN201, PLR0913
# pyright: basic, reportIndexIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

import triton
import triton.language as tl
from torch import Tensor

from curtail_kernels.attention.configs import Config
from curtail_kernels.attention.operands import Compiled
from curtail_kernels.attention.tiles import load_tables, place_tile


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
    c, s = load_tables(cos, sin, start, T, table_t, BLOCK, D // 2)
    if head < q_heads:
        place_tile(
            q, q_out, q_rms, c, s, batch, head, q_heads, start, T, gain, eps,
            q_b, q_t, q_h, qo_b, qo_t, qo_h, BLOCK, D,
        )  # fmt: skip
    else:
        place_tile(
            k, k_out, k_rms, c, s, batch, head - q_heads, k_heads, start, T, gain, eps,
            k_b, k_t, k_h, ko_b, ko_t, ko_h, BLOCK, D,
        )  # fmt: skip


def launch_rotary_norm(
    q: Tensor | None,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    q_out: Tensor | None,
    k_out: Tensor,
    q_rms: Tensor | None,
    k_rms: Tensor,
    *,
    gain: float,
    eps: float,
    config: Config,
) -> Compiled:
    """Write what `reference_rotary_norm` gives for q [B, T, H, D] and k [B, T, Hkv, D]; q None: for k alone.

    cos and sin: [T, 1, D / 2], fp32 or 16 bit, equal strides. q_rms and k_rms: 1 / rms, fp32 [B, T, H] and
    [B, T, Hkv], contiguous. All arithmetic is fp32.
    """
    B, T, kv_heads, D = k.shape
    H = 0 if q is None else q.size(2)
    if q is None or q_out is None or q_rms is None:
        q, q_out, q_rms = k, k_out, k_rms  # of no heads: nothing is read there
    return rotary_norm_kernel[(triton.cdiv(T, config.block_m), H + kv_heads, B)](
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
