"""The blockwise codec of pseudo-gradients: bytes of flat fp32 tensors, with or without error feedback.

The bytes are those of `curtail_dist.outer.codec.Blockwise`; see `codec_kernels` for the arithmetic. Nothing
here is differentiable.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from curtail_kernels.codec_kernels import launch_decode, launch_encode


def payload_size(numbers: int, bits: int, block: int) -> int:
    """`bits` a number, and 2 bytes a block, in bytes."""
    return 2 * -(-numbers // block) + -(-numbers * bits // 8)


def encode(flat: Tensor, bits: int, block: int) -> Tensor:
    """Return the payload (uint8, [size]) of `flat` (fp32, [numbers]). Raises ValueError: see `check`."""
    check(flat, torch.float32, bits, block)
    return _encode(flat, bits, block)


def encode_with_feedback(
    flat: Tensor, residual: Tensor | None, bits: int, block: int
) -> tuple[Tensor, Tensor]:
    """Encode flat + residual, all in one pass.

    Args:
        flat: [numbers] fp32.
        residual: [numbers] fp32, what earlier payloads left out; None: nothing.
        bits: 8 or 4.
        block: Numbers with one scale.

    Returns:
        The payload (uint8, [size]), and what it leaves out (fp32, [numbers]).

    Raises:
        ValueError: See `check`.
    """
    check(flat, torch.float32, bits, block)
    if residual is not None:
        check(residual, torch.float32, bits, block)
        if residual.shape != flat.shape:
            raise ValueError(f"the residual has {residual.numel()} numbers; it must have {flat.numel()}")
    return _encode_with_feedback(flat, residual, bits, block)


def decode(payload: Tensor, numbers: int, bits: int, block: int) -> Tensor:
    """Return the numbers (fp32, [numbers]) of a payload. Raises ValueError: see `check`; another size."""
    check(payload, torch.uint8, bits, block)
    size = payload_size(numbers, bits, block)
    if payload.numel() != size:
        raise ValueError(
            f"the payload has {payload.numel()} bytes; for {numbers} numbers it must have {size}"
        )
    return _decode(payload, numbers, bits, block)


def check(flat: Tensor, dtype: torch.dtype, bits: int, block: int) -> None:
    """Raise ValueError unless the tensor is flat, contiguous and of the dtype, and the codec one of ours."""
    if flat.dim() != 1 or not flat.is_contiguous() or flat.dtype != dtype:
        raise ValueError(
            f"a tensor is {list(flat.shape)} of {flat.dtype}; it must be flat, contiguous {dtype}"
        )
    if bits not in (4, 8):
        raise ValueError(f"bits is {bits}; it must be 4 or 8")
    if not 2 <= block <= 4096 or block & (block - 1):
        raise ValueError(f"block is {block}; it must be a power of two in [2, 4096]")


def parts(payload: Tensor, numbers: int, block: int) -> tuple[Tensor, Tensor]:
    """Return a payload's scales (int16: the bits of bf16) and its integers (uint8); they share its memory."""
    cut = 2 * -(-numbers // block)
    return payload[:cut].view(torch.int16), payload[cut:]


def reference_encode(flat: Tensor, bits: int, block: int) -> Tensor:
    """The payload in plain torch, on any device."""
    most = 2 ** (bits - 1) - 1
    blocks = F.pad(flat, (0, -flat.numel() % block)).view(-1, block)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    # Torch on CUDA divides by a Python number as a product with its reciprocal, which is not the same.
    scales = (largest / torch.full_like(largest, most)).bfloat16()
    steps = scales.float().masked_fill(scales == 0, 1.0)
    near = (blocks / steps).round().clamp(-most, most).nan_to_num(0.0)
    levels = near.to(torch.int16).view(-1)[: flat.numel()]
    if bits == 4:
        low, high = F.pad(levels, (0, levels.numel() % 2)).view(-1, 2).unbind(1)
        levels = (low & 0xF) | ((high & 0xF) << 4)
    return torch.cat([scales.view(-1).view(torch.uint8), (levels & 0xFF).to(torch.uint8)])


def reference_decode(payload: Tensor, numbers: int, bits: int, block: int) -> Tensor:
    """The numbers in plain torch, on any device."""
    scales, integers = parts(payload, numbers, block)
    levels = integers.to(torch.int16)
    if bits == 4:
        levels = torch.stack([levels & 0xF, levels >> 4], dim=1).view(-1)[:numbers]
    sign = 2 ** (bits - 1)
    values = F.pad(((levels ^ sign) - sign).float(), (0, -numbers % block)).view(-1, block)
    return (values * scales.view(torch.bfloat16).float().unsqueeze(1)).view(-1)[:numbers]


@torch.library.custom_op("curtail::blockwise_encode", mutates_args=(), device_types="cuda")
def _encode(flat: Tensor, bits: int, block: int) -> Tensor:
    payload = flat.new_empty(payload_size(flat.numel(), bits, block), dtype=torch.uint8)
    if flat.numel():
        launch_encode(flat, None, *parts(payload, flat.numel(), block), None, bits=bits, block=block)
    return payload


@_encode.register_kernel("cpu")
def _(flat: Tensor, bits: int, block: int) -> Tensor:
    return reference_encode(flat, bits, block)


@_encode.register_fake
def _(flat: Tensor, bits: int, block: int) -> Tensor:
    return flat.new_empty(payload_size(flat.numel(), bits, block), dtype=torch.uint8)


@torch.library.custom_op("curtail::blockwise_encode_with_feedback", mutates_args=(), device_types="cuda")
def _encode_with_feedback(
    flat: Tensor, residual: Tensor | None, bits: int, block: int
) -> tuple[Tensor, Tensor]:
    payload = flat.new_empty(payload_size(flat.numel(), bits, block), dtype=torch.uint8)
    rest = torch.empty_like(flat)
    if flat.numel():
        launch_encode(flat, residual, *parts(payload, flat.numel(), block), rest, bits=bits, block=block)
    return payload, rest


@_encode_with_feedback.register_kernel("cpu")
def _(flat: Tensor, residual: Tensor | None, bits: int, block: int) -> tuple[Tensor, Tensor]:
    whole = flat if residual is None else flat + residual
    payload = reference_encode(whole, bits, block)
    return payload, whole - reference_decode(payload, whole.numel(), bits, block)


@_encode_with_feedback.register_fake
def _(flat: Tensor, residual: Tensor | None, bits: int, block: int) -> tuple[Tensor, Tensor]:
    del residual
    payload = flat.new_empty(payload_size(flat.numel(), bits, block), dtype=torch.uint8)
    return payload, flat.new_empty(flat.shape)


@torch.library.custom_op("curtail::blockwise_decode", mutates_args=(), device_types="cuda")
def _decode(payload: Tensor, numbers: int, bits: int, block: int) -> Tensor:
    flat = payload.new_empty(numbers, dtype=torch.float32)
    if numbers:
        launch_decode(*parts(payload, numbers, block), flat, bits=bits, block=block)
    return flat


@_decode.register_kernel("cpu")
def _(payload: Tensor, numbers: int, bits: int, block: int) -> Tensor:
    return reference_decode(payload, numbers, bits, block).clone()


@_decode.register_fake
def _(payload: Tensor, numbers: int, bits: int, block: int) -> Tensor:
    del bits, block
    return payload.new_empty(numbers, dtype=torch.float32)
