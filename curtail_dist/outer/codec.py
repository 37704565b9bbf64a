"""Pseudo-gradients as bytes: fp32, tensor after tensor, without padding.

The seam for compression: a payload is encoded once for a round, sent as often as needed, and decoded alike
at every site.
"""

from collections.abc import Sequence

import torch


def encode(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate tensors of any shape as fp32 into one uint8 tensor on the CPU, of `encoded_bytes` bytes."""
    flat = [tensor.detach().to(device="cpu", dtype=torch.float32).reshape(-1) for tensor in tensors]
    return torch.cat(flat).view(torch.uint8) if flat else torch.empty(0, dtype=torch.uint8)


def decode(payload: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Split a payload into fp32 tensors of the shapes of `like`; they share the payload's memory."""
    expected = encoded_bytes(like)
    if payload.numel() != expected:
        raise ValueError(f"a payload has {payload.numel()} bytes; for this model it must have {expected}")
    parts = payload.view(torch.float32).split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def encoded_bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Return the size of the payload that `encode` makes of tensors of these shapes."""
    return 4 * sum(tensor.numel() for tensor in tensors)


def average(
    payloads: Sequence[torch.Tensor | None], weights: Sequence[float], like: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Return the weighted mean of decoded payloads, summed in rank order in fp32: the same bytes everywhere.

    Args:
        payloads: One a rank, None for those that contribute nothing; these are skipped, not multiplied by 0.
        weights: One a rank, tokens stepped.
        like: Tensors whose shapes the result has.
    """
    pairs = [
        (payload, weight) for payload, weight in zip(payloads, weights, strict=True) if payload is not None
    ]
    total = sum(weight for _, weight in pairs)
    mean = [torch.zeros(tensor.shape, dtype=torch.float32) for tensor in like]
    for payload, weight in pairs:
        for into, part in zip(mean, decode(payload, like), strict=True):
            into.add_(part, alpha=weight / total)
    return mean
