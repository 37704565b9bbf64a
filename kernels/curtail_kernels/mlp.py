"""The MLP with relu squared between its two products, which keeps its input and the squares and nothing else.

For x [N, C], U [F, C] and D [E, F]: z = x U^T, h = relu(z)^2, out = h D^T. As relu(z) is sqrt(h), backward

    dh = dout D,  dz = 2 sqrt(h) dh,  dx = dz U,  dU = dz^T x,  dD = dout^T h

needs x and h, which the second product keeps anyway; not to keep z, [N, F], saves 2 N F bytes in bf16. Relu
squared is a pass of its own, in place (`mlp_relu2`), or the end of the product before it (`mlp_products`),
where that is faster. In fp16, h is 0 where z is below 1.7e-4, and nothing flows back there.
"""

from typing import Any

import torch
from torch import Tensor

from curtail_kernels.mlp_products import (
    TABLE,
    is_in_product,
    launch_slopes_product,
    launch_squares_product,
)
from curtail_kernels.mlp_relu2 import launch_slopes, launch_squares, reference_slopes, reference_squares


def mlp(x: Tensor, up: Tensor, down: Tensor, *, in_product: bool | None = None) -> Tensor:
    """relu(x up^T)^2 down^T in x's dtype (inside autocast: in that of the region). Differentiable once.

    On CPU tensors it is plain torch.

    Args:
        x: [..., C]; fp32, bf16 or fp16.
        up: [F, C], of any float dtype; cast to x's.
        down: [E, F], of any float dtype; cast to x's.
        in_product: Whether relu squared is at the end of the product before it, forward and backward;
            None: as `mlp_products.IN_PRODUCT` says. Means nothing on a CPU.

    Returns:
        [..., E].

    Raises:
        ValueError: Shapes do not fit, or relu squared cannot be in the product though that was asked for.
    """
    fits = x.dim() > 0 and up.dim() == down.dim() == 2
    if not fits or x.size(-1) != up.size(1) or up.size(0) != down.size(1):
        raise ValueError(
            f"x is {list(x.shape)}, up {list(up.shape)} and down {list(down.shape)}; "
            "they must be [..., C], [F, C] and [E, F]"
        )
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    out, _ = _mlp(x.reshape(-1, x.size(-1)), up.to(x.dtype), down.to(x.dtype), in_product)
    return out.view(*x.shape[:-1], down.size(0))


def reference_mlp(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The same in plain torch, with torch's own gradient."""
    return reference_squares(x @ up.mT) @ down.mT


def squares(x: Tensor, up: Tensor, in_product: bool | None) -> Tensor:
    """relu(x up^T)^2 on a GPU, [N, F], for x [N, C] and up [F, C]; raises as `mlp`."""
    capability = torch.cuda.get_device_capability(x.device)
    with torch.cuda.device(x.device):
        if is_in_product("squares", in_product, capability, x, up):
            h = x.new_empty(x.size(0), up.size(0))
            config = TABLE["squares", capability]
            launch_squares_product(x, up, h, config=config, processors=_processors(x))
        else:
            h = x @ up.mT
            launch_squares(h, h)
    return h


def slopes(dout: Tensor, down: Tensor, h: Tensor, in_product: bool | None) -> Tensor:
    """2 sqrt(h) (dout down) on a GPU, [N, F], for dout [N, E], down [E, F], h [N, F]; raises as `mlp`."""
    capability = torch.cuda.get_device_capability(h.device)
    with torch.cuda.device(h.device):
        if is_in_product("slopes", in_product, capability, dout, down, h):
            dz = torch.empty_like(h)
            config = TABLE["slopes", capability]
            launch_slopes_product(dout, down, h, dz, config=config, processors=_processors(h))
        else:
            dz = dout @ down
            launch_slopes(h, dz, dz)
    return dz


def _processors(x: Tensor) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count


@torch.library.custom_op("curtail::mlp", mutates_args=(), device_types="cuda")
def _mlp(x: Tensor, up: Tensor, down: Tensor, in_product: bool | None) -> tuple[Tensor, Tensor]:
    h = squares(x, up, in_product)
    return h @ down.mT, h


@torch.library.custom_op("curtail::mlp_backward", mutates_args=(), device_types="cuda")
def _mlp_backward(
    dout: Tensor, x: Tensor, h: Tensor, up: Tensor, down: Tensor, in_product: bool | None
) -> tuple[Tensor, Tensor, Tensor]:
    dout = dout.contiguous()
    dz = slopes(dout, down, h, in_product)
    return dz @ up, dz.mT @ x, dout.mT @ h


@_mlp.register_kernel("cpu")
def _(x: Tensor, up: Tensor, down: Tensor, in_product: bool | None) -> tuple[Tensor, Tensor]:
    del in_product
    h = reference_squares(x @ up.mT)
    return h @ down.mT, h


@_mlp_backward.register_kernel("cpu")
def _(
    dout: Tensor, x: Tensor, h: Tensor, up: Tensor, down: Tensor, in_product: bool | None
) -> tuple[Tensor, Tensor, Tensor]:
    del in_product
    dz = reference_slopes(h, dout @ down)
    return dz @ up, dz.mT @ x, dout.mT @ h


@_mlp.register_fake
def _(x: Tensor, up: Tensor, down: Tensor, in_product: bool | None) -> tuple[Tensor, Tensor]:
    del in_product
    return x.new_empty(x.size(0), down.size(0)), x.new_empty(x.size(0), up.size(0))


@_mlp_backward.register_fake
def _(
    dout: Tensor, x: Tensor, h: Tensor, up: Tensor, down: Tensor, in_product: bool | None
) -> tuple[Tensor, Tensor, Tensor]:
    del dout, h, in_product
    return x.new_empty(x.shape), up.new_empty(up.shape), down.new_empty(down.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, up, down, ctx.in_product = inputs
    ctx.save_for_backward(x, output[1], up, down)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, dout: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return (*_mlp_backward(dout, *ctx.saved_tensors, ctx.in_product), None)


_mlp.register_autograd(_backward, setup_context=_save)
