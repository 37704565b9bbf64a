"""Whether the MLP, the head and Muon's product are right: small, odd shapes against fp64, and two runs."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import torch
from curtail_kernels.head import head_loss, reference_head_loss
from curtail_kernels.mlp import mlp, reference_mlp
from curtail_kernels.muon import reference_symmetric_product, symmetric_product
from torch import Tensor

from gpu_kernels.correct import judged

Results = list[Tensor]
TOKENS, WIDTH, INSIDE, VOCABULARY = 300, 72, 200, 1003
"""Multiples of no block, and rows of the MLP's that begin at 16 bytes."""


def around_checks(
    device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The small cases by name: errors beside torch's, and whether two runs agree."""
    for in_product in (False, True):
        yield f"mlp, relu2 in the products: {in_product}", partial(_mlp, in_product, device, dtype)
    for softcap, reduction in product((None, 15.0), ("mean", "none")):
        yield f"head, softcap {softcap}, {reduction}", partial(_head, softcap, reduction, device, dtype)
    for side, added in product((97, 160), (False, True)):
        yield f"symmetric product of {side}, added: {added}", partial(_symmetric, side, added, device, dtype)


def _mlp(in_product: bool, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    given = [_drawn(device, dtype, *shape) for shape in ((TOKENS, WIDTH), (INSIDE, WIDTH), (WIDTH, INSIDE))]
    dout = _drawn(device, dtype, TOKENS, WIDTH)

    def run(way: Callable[..., Tensor], to: torch.dtype = dtype) -> Results:
        leaves = [x.to(to).requires_grad_() for x in given]
        out = way(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, dout.to(to))]

    runs = [run(lambda *leaves: mlp(*leaves, in_product=in_product)) for _ in range(2)]
    names = ("out", "dx", "dup", "ddown")
    return judged(names, runs, run(reference_mlp), run(reference_mlp, torch.float64))


def _head(softcap: float | None, reduction: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    given = [_drawn(device, dtype, *shape) for shape in ((TOKENS, WIDTH), (VOCABULARY, WIDTH))]
    targets = torch.arange(TOKENS, device=device) * 3
    targets[::16] = -1
    weights = _drawn(device, torch.float32, TOKENS)

    def run(way: Callable[..., Tensor], to: torch.dtype = dtype) -> Results:
        leaves = [x.to(to).requires_grad_() for x in given]
        losses = way(*leaves, targets, softcap=softcap, reduction=reduction)
        whole = (losses * weights.to(losses.dtype)).sum() if reduction == "none" else losses
        return [losses.detach(), *torch.autograd.grad(whole, leaves)]

    runs = [run(head_loss) for _ in range(2)]
    names = ("losses", "dx", "dweight")
    return judged(names, runs, run(reference_head_loss), run(reference_head_loss, torch.float64))


def _symmetric(side: int, added: bool, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    x = _drawn(device, dtype, 2, side, side + 32)
    root = _drawn(device, torch.float32, 2, side, side)
    addend = (root + root.mT).to(dtype) if added else None

    def run(way: Callable[..., Tensor], to: torch.dtype = dtype) -> Results:
        return [way(x.to(to), None if addend is None else addend.to(to), -2.5, 1.5)]

    runs = [run(lambda x, plus, a, b: symmetric_product(x, plus, alpha=a, beta=b)) for _ in range(2)]
    exact = run(reference_symmetric_product, torch.float64)
    return judged(("product",), runs, run(reference_symmetric_product), exact)


def _drawn(device: torch.device, dtype: torch.dtype, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(device, dtype)
