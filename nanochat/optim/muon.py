"""Muon's update of one stack of equal matrices: Nesterov, Polar Express, variance reduction, cautious decay.

Muon orthogonalises the momentum of a matrix, so that every direction of the update has the same size. Polar
Express (arXiv 2505.16932) approaches the orthogonal factor by five odd polynomials of degree 5, each the best
one for what the one before leaves. NorMuon (arXiv 2510.05491) then evens out rows (or columns) by their
running second moment.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""(a, b, c) of x <- a x + b x^3 + c x^5, of five iterations with a safety factor of .02."""

NORM_MARGIN = 1.02
NORM_EPS = 1e-6
MOMENT_FLOOR = 1e-10


def orthogonalize(g: Tensor, norm_margin: float = NORM_MARGIN) -> Tensor:  # g: [K, m, n]
    """Approach the orthogonal factor U V^T of each g = U S V^T.

    Computed in bf16 on CUDA and in fp32 elsewhere; the result has g's dtype. The singular values, after
    division by `norm_margin` x the Frobenius norm, come near 1 wherever they were above about 1e-3.
    """
    x = g.bfloat16() if g.is_cuda else g.float()
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x  # the small Gram matrix: [K, s, s] with s = min(m, n)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * norm_margin + NORM_EPS)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b A + c A^2
        x = torch.baddbmm(x, poly, x, beta=a)  # a X + (b A + c A^2) X
    return (x.mT if tall else x).to(g.dtype)


def _fused(g: Tensor, norm_margin: float) -> Tensor:  # g: [K, m, n]
    """The same with kernels that compute each symmetric product once."""
    from curtail_kernels import muon

    return muon.orthogonalize(g, POLAR_EXPRESS, norm_margin=norm_margin, norm_eps=NORM_EPS)


def equalize_rows(g: Tensor) -> Tensor:  # g: [K, m, n]
    """Give all rows of a matrix the same norm, and keep the matrix's (arXiv 2603.28254)."""
    wide = g.float()
    rows = wide.norm(dim=-1, keepdim=True).clamp_min(NORM_EPS)  # [K, m, 1]
    whole = wide.norm(dim=(-2, -1), keepdim=True)  # [K, 1, 1]
    return (wide * (whole / g.size(-2) ** 0.5 / rows)).to(g.dtype)


def restore_norm(u: Tensor) -> Tensor:  # u: [K, m, n]
    """Give a matrix the Frobenius norm that it would have were it orthogonal: sqrt(min(m, n))."""
    wanted = min(u.size(-2), u.size(-1)) ** 0.5
    return u * (wanted / u.norm(dim=(-2, -1), keepdim=True).clamp_min(NORM_EPS))


def moment_shape(shape: torch.Size) -> tuple[int, int]:
    """Shape of the second moment of an [m, n] matrix: the mean runs over the smaller side."""
    m, n = shape
    return (m, 1) if m >= n else (1, n)


def state_shapes(shape: torch.Size) -> dict[str, tuple[int, ...]]:
    """Shapes of what is kept of an [m, n] matrix between two steps."""
    return {"momentum": tuple(shape), "moment": moment_shape(shape)}


def reduce_variance(u: Tensor, moment: Tensor, beta2: float) -> tuple[Tensor, Tensor]:
    """Divide rows (columns of a wide matrix) by the root of their running mean square, and keep the norm.

    Args:
        u: [K, m, n], the orthogonalised update.
        moment: [K, m, 1] or [K, 1, n], see `moment_shape`.
        beta2: Decay of the moment, a step.

    Returns:
        The new update and the new moment; the arguments stay as they are.
    """
    side = -1 if moment.size(-1) == 1 else -2
    square = u.float().square().mean(dim=side, keepdim=True)
    moment = moment.lerp(square, 1 - beta2)
    scale = moment.clamp_min(MOMENT_FLOOR).rsqrt()
    before = square.sum(dim=(-2, -1), keepdim=True).sqrt()
    after = (square * scale.square()).sum(dim=(-2, -1), keepdim=True).sqrt()
    return u * (scale * (before / after.clamp_min(MOMENT_FLOOR))).to(u.dtype), moment


def nesterov(g: Tensor, buffer: Tensor, momentum: float) -> Tensor:
    """In place buffer <- lerp(buffer, g, 1 - m); returns lerp(g, buffer, m). Any shape."""
    buffer.lerp_(g, 1 - momentum)
    return g.lerp(buffer, momentum)


def learning_rate(lr: float, shape: torch.Size) -> float:
    """The rate of an [m, n] matrix: lr x sqrt(max(1, m / n))."""
    return lr * max(1.0, shape[0] / shape[1]) ** 0.5


def apply_update(weight: Tensor, u: Tensor, lr: float, weight_decay: float) -> None:
    """Step by -lr u, with decay only where u has the weight's sign. weight, u: [m, n]."""
    if weight_decay:
        kept = weight * (u * weight >= 0)
        weight.sub_(kept, alpha=lr * weight_decay)
    weight.sub_(u, alpha=lr)


def muon_step(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    group: Mapping[str, Any],
) -> None:
    """Update equal matrices and their states in place.

    They share one batched product: at small widths the calls cost more than the arithmetic.

    Args:
        weights: K times [m, n].
        grads: K times [m, n].
        states: Of each, `momentum` [m, n] and `moment`, see `moment_shape`; empty before the first step.
        group: `lr`, `momentum`, `beta2`, `weight_decay`, and `norm_margin` and `balanced` where they are not
            variant 2026-01's, and `fused` where the fused kernels multiply.
    """
    directions = []
    for weight, grad, state in zip(weights, grads, states, strict=True):
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["moment"] = torch.zeros(moment_shape(weight.shape), device=weight.device)
        directions.append(nesterov(grad, state["momentum"], group["momentum"]))
    g, balanced = torch.stack(directions), group.get("balanced", False)  # [K, m, n]
    g = equalize_rows(g) if balanced else g
    u = (_fused if group.get("fused") else orthogonalize)(g, group.get("norm_margin", NORM_MARGIN))
    u = restore_norm(u) if balanced else u
    u, moments = reduce_variance(u, torch.stack([state["moment"] for state in states]), group["beta2"])
    lr = learning_rate(group["lr"], weights[0].shape)
    for weight, state, update, moment in zip(weights, states, u, moments, strict=True):
        state["moment"].copy_(moment)
        apply_update(weight, update, lr, group["weight_decay"])
