"""Logits of one chunk of tokens after the other, and what is made of them: losses and gradients."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 16
"""Rows of logits begin at multiples of so many numbers, for loads of 16 bytes."""

Rows = Callable[..., None]
"""`head_rows.launch_head_rows`, or what takes its arguments."""


class Head(NamedTuple):
    """What a loss is computed of."""

    x: Tensor
    """[N, C]."""
    weight: Tensor
    """[V, C], of any float dtype."""
    targets: Tensor
    """[N] int64."""
    softcap: float
    """0: no cap."""
    ignore_index: int
    chunk: int
    """Tokens whose logits exist at a time."""


def losses_by_chunks(head: Head, rows: Rows) -> Tensor:
    """Losses [N] fp32."""
    losses = torch.empty(head.x.size(0), dtype=torch.float32, device=head.x.device)
    with torch.autocast(head.x.device.type, enabled=False):
        for tokens, logits in _chunks(head, head.weight.to(head.x.dtype)):
            _apply(rows, head, logits, tokens, losses, gradient=False)
    return losses


def gradient_by_chunks(head: Head, rows: Rows, scales: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Losses and gradients.

    Args:
        head: Of the losses.
        rows: Makes the logits' gradient of the logits.
        scales: [N] fp32, weights of the losses; None: 1.

    Returns:
        Losses [N] fp32, not weighted; the gradients of their weighted sum: of x in its dtype, and of the
        weight in its own, summed in fp32.
    """
    x, weight = head.x, head.weight.to(head.x.dtype)
    wide = torch.promote_types(x.dtype, torch.float32)
    losses = torch.empty(x.size(0), dtype=torch.float32, device=x.device)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    dweight = torch.zeros(weight.shape, dtype=wide, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        for tokens, logits in _chunks(head, weight):
            _apply(rows, head, logits, tokens, losses, gradient=True, scales=scales)
            dz = logits[:, : weight.size(0)]
            torch.mm(dz, weight, out=dx[tokens])
            dweight += _wide_product(dz.mT, x[tokens], wide)
    return losses, dx, dweight.to(head.weight.dtype)


def _chunks(head: Head, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Give the tokens of each chunk and their logits [n, V rounded up], which the next one overwrites."""
    N, V = head.x.size(0), weight.size(0)
    width = -(-V // ALIGNMENT) * ALIGNMENT
    buffer = head.x.new_empty(min(head.chunk, N), width)
    for first in range(0, N, head.chunk):
        tokens = slice(first, min(first + head.chunk, N))
        logits = buffer[: tokens.stop - first]
        torch.mm(head.x[tokens], weight.mT, out=logits[:, :V])
        yield tokens, logits


def _apply(
    rows: Rows,
    head: Head,
    logits: Tensor,
    tokens: slice,
    losses: Tensor,
    *,
    gradient: bool,
    scales: Tensor | None = None,
) -> None:
    rows(
        logits,
        head.targets[tokens],
        losses[tokens],
        head.weight.size(0),
        softcap=head.softcap,
        ignore_index=head.ignore_index,
        gradient=gradient,
        scales=None if scales is None else scales[tokens],
    )


def _wide_product(a: Tensor, b: Tensor, wide: torch.dtype) -> Tensor:
    """Return a b in `wide`, not rounded to their own dtype in between."""
    if a.dtype == wide:
        return a @ b
    return torch.mm(a, b, out_dtype=wide) if a.is_cuda else a.to(wide) @ b.to(wide)
