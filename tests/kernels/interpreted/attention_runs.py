"""Runs of the attention kernels on small inputs, held against fp64."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from accuracy import FLOOR, FP32, assert_accurate
from curtail_kernels.attention import dkdv, dq, forward, operands, prologue
from curtail_kernels.attention.configs import SMALL, Config, Path
from curtail_kernels.attention.reference import (
    reference_attention,
    reference_attention_backward,
    reference_rotary_norm,
    reference_rotary_norm_backward,
)
from torch import Tensor

KERNELS = SimpleNamespace(forward=forward, dq=dq, dkdv=dkdv, prologue=prologue, operands=operands)
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An attention; `kind` says what its inputs are, and padding is NaN."""

    B: int = 1
    T: int
    before: int = 0
    """S - T."""
    group: int = 1
    kv_heads: int = 1
    D: int = 64
    window: int | None = None
    dtype: torch.dtype = torch.bfloat16
    bounded: bool = False
    lengths: tuple[int, ...] | None = None
    path: Path = "pointers"
    config: Config = SMALL
    kind: str = "normal"
    strided: bool = False

    @property
    def S(self) -> int:
        return self.T + self.before

    @property
    def ragged(self) -> Tensor | None:
        return None if self.lengths is None else torch.tensor(self.lengths, dtype=torch.int32)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    q: Tensor
    k: Tensor
    v: Tensor
    do: Tensor

    def double(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.q.double(), self.k.double(), self.v.double(), self.do.double()


def inputs(case: Case) -> Inputs:
    g = torch.Generator().manual_seed(case.T + 7 * case.D + case.group)
    heads, D = case.group * case.kv_heads, case.D
    q, do = (torch.randn(case.B, case.T, heads, D, generator=g) for _ in range(2))
    k, v = (torch.randn(case.B, case.S, case.kv_heads, D, generator=g) for _ in range(2))
    if case.kind == "constant logits":
        q, k = torch.full_like(q, 0.5), torch.full_like(k, 0.25)
    elif case.kind in ("one hot", "normed one hot"):
        peak = 24.0 if case.kind == "one hot" else 1.2 * D**0.5
        q = F.one_hot(torch.arange(case.T) * 5 % D, D)[None, :, None].expand_as(q) * peak
        k = F.one_hot(torch.arange(case.S) % D, D)[None, :, None].expand_as(k) * peak
    elif case.kind == "large norms":
        q, k = q * 6, k * 6
    elif case.kind == "fair norms":
        q, k = q * 3, k * 3
    elif case.kind == "zeros":
        q, k = torch.zeros_like(q), torch.zeros_like(k)
    q, k, v, do = (x.to(case.dtype) for x in (q, k, v, do))
    if case.strided:
        whole = torch.cat((q, k, v), dim=2) if case.before == 0 else None
        assert whole is not None
        q, k, v = whole.split([heads, case.kv_heads, case.kv_heads], dim=2)
        do = do.transpose(1, 2).contiguous().transpose(1, 2)
    for row, length in enumerate(case.lengths or ()):
        for x, first in ((q, case.before), (do, case.before), (k, 0), (v, 0)):
            x[row, max(length - first, 0) :] = NAN
    return Inputs(q=q, k=k, v=v, do=do)


def run_forward(case: Case, given: Inputs, kernels: Any = KERNELS) -> tuple[Tensor, Tensor]:
    """o and lse, which were NaN before."""
    B, T, H, D = given.q.shape
    o = torch.full((B, T, H, D), NAN, dtype=case.dtype)
    lse = torch.full((B, H, T), NAN)
    kernels.forward.launch_forward(
        given.q,
        given.k,
        given.v,
        o,
        lse,
        scale=D**-0.5,
        window=case.window,
        lengths=case.ragged,
        bounded=case.bounded,
        path=case.path,
        config=case.config,
    )
    return o, lse


def run_raw_forward(
    case: Case, raw: Inputs, cos: Tensor, sin: Tensor, gain: float, eps: float, kernels: Any = KERNELS
) -> tuple[Tensor, ...]:
    """o, lse, placed q and k and their 1 / rms, all NaN before: queries are placed by the forward kernel."""
    outs = [torch.full(x.shape, NAN, dtype=x.dtype) for x in (raw.q, raw.k, raw.q)]
    norms = [torch.full(x.shape[:-1], NAN) for x in (raw.q, raw.k)]
    lse = torch.full((case.B, raw.q.size(2), case.T), NAN)
    kernels.prologue.launch_rotary_norm(
        None, raw.k, cos, sin, None, outs[1], None, norms[1], gain=gain, eps=eps, config=case.config
    )
    kernels.forward.launch_forward(
        raw.q,
        outs[1],
        raw.v,
        outs[2],
        lse,
        scale=case.D**-0.5,
        window=case.window,
        lengths=None,
        bounded=case.bounded,
        path=case.path,
        config=case.config,
        unplaced=kernels.operands.Unplaced(outs[0], norms[0], cos, sin, gain, eps),
    )
    return outs[2], lse, *outs[:2], *norms


def run_backward(
    case: Case, given: Inputs, o: Tensor, lse: Tensor, kernels: Any = KERNELS, placing: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv, which were NaN before."""
    grads = [torch.full(x.shape, NAN, dtype=x.dtype) for x in (given.q, given.k, given.v)]
    delta = torch.full_like(lse, NAN)
    shared = {
        "scale": case.D**-0.5,
        "window": case.window,
        "lengths": case.ragged,
        "placing": placing,
        "path": case.path,
        "config": case.config,
    }
    kernels.dq.launch_dq(given.q, given.k, given.v, o, given.do, lse, delta, grads[0], **shared)
    kernels.dkdv.launch_dkdv(given.q, given.k, given.v, given.do, lse, delta, *grads[1:], **shared)
    return grads[0], grads[1], grads[2]


def torchs_own(case: Case, given: Inputs) -> tuple[Tensor, ...]:
    """o, dq, dk and dv of scaled dot product attention in the inputs' dtype."""
    q, k, v, do = (x.detach().clone() for x in (given.q, given.k, given.v, given.do))
    if case.lengths is not None:
        q, k, v, do = (x.nan_to_num() for x in (q, k, v, do))
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    rows = torch.arange(case.before, case.S)[:, None]
    back = rows - torch.arange(case.S)
    seen = ((back >= 0) if case.window is None else (back >= 0) & (back <= case.window))[None, None]
    live = torch.ones((1, 1, case.T, 1), dtype=torch.bool)
    if case.ragged is not None:
        live = (rows < case.ragged[:, None, None])[:, None]
        seen = seen & (torch.arange(case.S) < case.ragged[:, None])[:, None, None] | ~live
    transposed = (x.transpose(1, 2) for x in (q, k, v))
    o = F.scaled_dot_product_attention(*transposed, attn_mask=seen, enable_gqa=case.group > 1)
    o = (o * live).transpose(1, 2)
    return o.detach(), *torch.autograd.grad(o, (q, k, v), do)


def check(case: Case, kernels: Any = KERNELS) -> None:
    """Forward and backward are as near to fp64 as they must be."""
    given = inputs(case)
    own = torchs_own(case, given)
    q, k, v, do = given.double()
    exact_o, exact_lse = reference_attention(q, k, v, window=case.window, lengths=case.ragged)
    exact = reference_attention_backward(
        do, q, k, v, exact_o, exact_lse, window=case.window, lengths=case.ragged
    )
    o, lse = run_forward(case, given, kernels)
    assert_accurate(o, own[0], exact_o, case.dtype)
    dead = exact_lse.isinf()
    assert torch.equal(lse.isinf(), dead), "padding, and nothing else, has lse inf"
    tolerance = 2e-6 if case.dtype == torch.float32 else 4e-3
    torch.testing.assert_close(lse[~dead], exact_lse[~dead].float(), atol=tolerance, rtol=tolerance)
    terms = reference_attention_backward(
        do, q, k, v, 0 * exact_o, exact_lse, window=case.window, lengths=case.ragged
    )
    got = run_backward(case, given, o, lse, kernels)
    for each in zip(got, own[1:], exact, terms, strict=True):
        _assert_gradient(*each, case.dtype)


def _assert_gradient(got: Tensor, own: Tensor, exact: Tensor, term: Tensor, dtype: torch.dtype) -> None:
    """A gradient that is the difference of equal terms, and so 0, is held to the size of one term."""
    if exact.norm() > 1e-9 * term.norm():
        assert_accurate(got, own, exact, dtype)
    else:
        size = term.norm().item() or 1.0
        limit = FP32 if dtype == torch.float32 else 1.25 * own.double().norm().item() / size + FLOOR
        found = got.double().norm().item() / size
        assert found <= limit, f"the error is {found:.2e} of a term; it must be at most {limit:.2e}"


def tables(T: int, D: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines, [T, 1, D / 2]."""
    angles = torch.outer(torch.arange(T).float(), 1000.0 ** -torch.linspace(0, 1, D // 2))[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def run_prologue(case: Case, given: Inputs, cos: Tensor, sin: Tensor, gain: float, eps: float, kernels: Any):
    """q and k placed and their 1 / rms, which were NaN before."""
    outs = [torch.full(x.shape, NAN, dtype=x.dtype) for x in (given.q, given.k)]
    norms = [torch.full(x.shape[:-1], NAN) for x in (given.q, given.k)]
    kernels.prologue.launch_rotary_norm(
        given.q, given.k, cos, sin, *outs, *norms, gain=gain, eps=eps, config=case.config
    )
    return *outs, *norms


def check_prologue(
    case: Case, *, table: torch.dtype = torch.float32, size: float = 1.0, kernels: Any = KERNELS
) -> None:
    """What the prologue writes is the fp64 result, rounded."""
    given = inputs(case)
    given = replace(given, q=given.q * size, k=given.k * size)
    cos, sin = tables(case.T, case.D, table)
    *outs, q_rms, k_rms = run_prologue(case, given, cos, sin, 1.2, 1e-6, kernels)
    for x, y, r in ((given.q, outs[0], q_rms), (given.k, outs[1], k_rms)):
        exact_y, exact_r = reference_rotary_norm(x.double(), cos.double(), sin.double(), gain=1.2, eps=1e-6)
        assert_accurate(y, exact_y.to(case.dtype), exact_y, case.dtype)
        torch.testing.assert_close(r, exact_r.float(), atol=0.0, rtol=2e-6)


def check_raw_forward(case: Case, kernels: Any = KERNELS) -> None:
    """Queries placed by the forward kernel give the bits of those that the prologue placed."""
    raw = inputs(case)
    cos, sin = tables(case.T, case.D)
    q, k, *norms = run_prologue(case, raw, cos, sin, 1.2, 1e-6, kernels)
    right = (*run_forward(case, replace(raw, q=q, k=k), kernels), q, k, *norms)
    for one, other in zip(run_raw_forward(case, raw, cos, sin, 1.2, 1e-6, kernels), right, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


def check_whole(case: Case, kernels: Any = KERNELS, gain: float = 1.2) -> None:
    """Rotation, norm and attention, and the gradients of the raw, are as near to fp64 as they must be."""
    raw = inputs(case)
    cos, sin = tables(case.T, case.D)
    q, k, q_rms, k_rms = run_prologue(case, raw, cos, sin, gain, 1e-6, kernels)
    placed = replace(raw, q=q, k=k)
    o, lse = run_forward(case, placed, kernels)
    placing = kernels.operands.Placing(q_rms, k_rms, cos, sin, gain)
    got = (o, *run_backward(case, placed, o, lse, kernels, placing))
    own = _whole_in(case, raw, cos.to(case.dtype), sin.to(case.dtype), gain)
    exact = _whole_exact(case, raw, cos, sin, gain)
    assert_accurate(o, own[0], exact[0], case.dtype)
    for each in zip(got[1:], own[1:], exact[1:], (raw.do, raw.do, exact[3]), strict=True):
        _assert_gradient(*each, case.dtype)


def _whole_in(case: Case, raw: Inputs, cos: Tensor, sin: Tensor, gain: float) -> tuple[Tensor, ...]:
    leaves = [x.detach().clone().requires_grad_() for x in (raw.q, raw.k)]
    placed = []
    for x in leaves:
        x1, x2 = x.chunk(2, dim=-1)
        z = torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)
        placed.append(F.rms_norm(z, (case.D,), eps=1e-6) * gain)
    o, dq, dk, dv = torchs_own(case, replace(raw, q=placed[0].detach(), k=placed[1].detach()))
    return o, *torch.autograd.grad(placed, leaves, (dq, dk)), dv


def _whole_exact(case: Case, raw: Inputs, cos: Tensor, sin: Tensor, gain: float) -> tuple[Tensor, ...]:
    q, k, v, do = raw.double()
    c, s = cos.double(), sin.double()
    placed_q, q_rms = reference_rotary_norm(q, c, s, gain=gain, eps=1e-6)
    placed_k, k_rms = reference_rotary_norm(k, c, s, gain=gain, eps=1e-6)
    o, lse = reference_attention(placed_q, placed_k, v, window=case.window)
    dq, dk, dv = reference_attention_backward(do, placed_q, placed_k, v, o, lse, window=case.window)
    dq = reference_rotary_norm_backward(dq, placed_q, q_rms, c, s, gain=gain)
    dk = reference_rotary_norm_backward(dk, placed_k, k_rms, c, s, gain=gain)
    return o, dq, dk, dv
