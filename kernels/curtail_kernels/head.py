"""The language model's head: linear, softcap and cross-entropy over chunks of tokens.

For x [N, C], W [V, C] and targets y: z = x W^T, then the rows of `head_rows`. Only one chunk's logits exist
at a time: 2 x chunk x V bytes in bf16, whatever N is. The products are torch's; between them one kernel works
in place. For a sum or a mean the gradient is made where the loss is, while the logits are there,

    dx = dz W,  dW = dz^T x    (dW summed in fp32 over the chunks),

and backward only multiplies by the incoming number. Losses a token have an incoming number each, known only
in backward: there the logits are computed again, chunk by chunk, at the price of one more product.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from curtail_kernels.head_chunks import Head, Rows, gradient_by_chunks, losses_by_chunks
from curtail_kernels.head_rows import launch_head_rows, reference_head_rows

CHUNK = 8192
"""Tokens at once: fewer make the products small, more only cost memory."""

Reduction = Literal["mean", "sum", "none"]


def head_loss(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -1,
    reduction: Reduction = "mean",
    chunk: int = CHUNK,
) -> Tensor:
    """Cross-entropy in nats of the softcapped logits x W^T, without keeping them. Differentiable once.

    The products are in x's dtype (inside autocast: in that of the region); loss and softcap in fp32. The
    gradient of the weight is summed in fp32 and given in the weight's dtype: an fp32 weight gets all of it.

    Args:
        x: [..., C]; fp32, bf16 or fp16.
        weight: [V, C], of any float dtype; cast to x's.
        targets: [...] int64 in [0, V), or `ignore_index`. Any other makes the loss NaN.
        softcap: c of c tanh(z / c); None: no cap.
        ignore_index: Target that counts for nothing.
        reduction: `sum` and `mean` over the counted targets: [] fp32 (the mean of none is NaN); `none`:
            [N] fp32, 0 where ignored.
        chunk: Tokens whose logits exist at a time.

    Raises:
        ValueError: Shapes, dtype or numbers do not fit.
    """
    _check(x, weight, targets, softcap, chunk)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    x, targets, cap = x.flatten(0, -2), targets.flatten(), softcap or 0.0
    if reduction == "none":
        return _losses(x, weight, targets, cap, ignore_index, chunk)
    gradient = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    total, _, _ = _total(x, weight, targets, cap, ignore_index, chunk, gradient)
    return total if reduction == "sum" else total / (targets != ignore_index).sum()


def reference_head_loss(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -1,
    reduction: Reduction = "mean",
) -> Tensor:
    """The same in plain torch with all logits at once, in fp32 or wider after the product."""
    z = x.flatten(0, -2) @ weight.to(x.dtype).mT
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    z = softcap * torch.tanh(z / softcap) if softcap else z
    return F.cross_entropy(z, targets.flatten(), ignore_index=ignore_index, reduction=reduction)


def _check(x: Tensor, weight: Tensor, targets: Tensor, softcap: float | None, chunk: int) -> None:
    if x.dim() < 2 or weight.dim() != 2 or x.size(-1) != weight.size(1):
        raise ValueError(
            f"x is {list(x.shape)} and weight {list(weight.shape)}; they must be [..., C] and [V, C]"
        )
    if targets.shape != x.shape[:-1] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets are {list(targets.shape)} of {targets.dtype}; "
            f"they must be {list(x.shape[:-1])} of torch.int64, one a row of x"
        )
    if softcap is not None and softcap <= 0:
        raise ValueError(f"softcap is {softcap}; it must be above 0, or None for no cap")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")


# The operators below take Head's fields one by one: an operator's arguments are tensors and numbers.


@torch.library.custom_op("curtail::head_total", mutates_args=(), device_types="cuda")
def _total(
    x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    head = Head(x, weight, targets, softcap, ignore_index, chunk)
    return _sum(head, gradient, launch_head_rows)


@_total.register_kernel("cpu")
def _(
    x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    head = Head(x, weight, targets, softcap, ignore_index, chunk)
    return _sum(head, gradient, reference_head_rows)


def _sum(head: Head, gradient: bool, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the losses [], dx and dweight; the last two are empty unless `gradient`."""
    if not gradient:
        return losses_by_chunks(head, rows).sum(), head.x.new_empty(0), head.weight.new_empty(0)
    losses, dx, dweight = gradient_by_chunks(head, rows)
    return losses.sum(), dx, dweight


@_total.register_fake
def _(
    x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    del targets, softcap, ignore_index, chunk
    total = x.new_empty((), dtype=torch.float32)
    if not gradient:
        return total, x.new_empty(0), weight.new_empty(0)
    return total, x.new_empty(x.shape), weight.new_empty(weight.shape)


def _save_total(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    del inputs
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _total_backward(ctx: Any, g: Tensor, *_: Any) -> tuple[Tensor | None, ...]:  # g: []
    dx, dweight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    return (dx * g if wanted[0] else None, dweight * g if wanted[1] else None, *[None] * 5)


_total.register_autograd(_total_backward, setup_context=_save_total)


@torch.library.custom_op("curtail::head_losses", mutates_args=(), device_types="cuda")
def _losses(
    x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int
) -> Tensor:
    return losses_by_chunks(Head(x, weight, targets, softcap, ignore_index, chunk), launch_head_rows)


@_losses.register_kernel("cpu")
def _(x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int) -> Tensor:
    return losses_by_chunks(Head(x, weight, targets, softcap, ignore_index, chunk), reference_head_rows)


@_losses.register_fake
def _(x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int) -> Tensor:
    del weight, targets, softcap, ignore_index, chunk
    return x.new_empty(x.size(0), dtype=torch.float32)


@torch.library.custom_op("curtail::head_losses_backward", mutates_args=(), device_types="cuda")
def _gradient(
    g: Tensor, x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int
) -> tuple[Tensor, Tensor]:
    head = Head(x, weight, targets, softcap, ignore_index, chunk)
    return gradient_by_chunks(head, launch_head_rows, g.contiguous())[1:]


@_gradient.register_kernel("cpu")
def _(
    g: Tensor, x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int
) -> tuple[Tensor, Tensor]:
    head = Head(x, weight, targets, softcap, ignore_index, chunk)
    return gradient_by_chunks(head, reference_head_rows, g)[1:]


@_gradient.register_fake
def _(
    g: Tensor, x: Tensor, weight: Tensor, targets: Tensor, softcap: float, ignore_index: int, chunk: int
) -> tuple[Tensor, Tensor]:
    del g, targets, softcap, ignore_index, chunk
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _save_losses(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:3])
    ctx.numbers = inputs[3:]


def _losses_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # g: [N]
    dx, dweight = _gradient(g, *ctx.saved_tensors, *ctx.numbers)
    return (dx, dweight, *[None] * 4)


_losses.register_autograd(_losses_backward, setup_context=_save_losses)
