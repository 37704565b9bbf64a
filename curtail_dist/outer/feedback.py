"""Error feedback: what a lossy payload leaves out is carried to the next one."""

from collections.abc import Callable
from typing import TypeAlias

import torch

from curtail_dist.outer.codec import Codec, Float32

Encoder: TypeAlias = Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor | None]]
"""Makes of numbers (fp32, [numbers]; used up) and what earlier payloads left out of them the payload of their
sum, and what that leaves out; None: nothing."""


def encoder(codec: Codec) -> Encoder:
    """Return what encodes by `codec`, and decodes again to see what is left out."""

    def encode(flat: torch.Tensor, residual: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        whole = flat if residual is None else flat.add_(residual)
        payload = codec.encode(whole)
        if isinstance(codec, Float32):
            return payload, None
        decoded = codec.decode(payload, whole.numel())
        return payload, torch.sub(whole, decoded, out=decoded)

    return encode


class Feedback:
    """Error feedback: what a payload leaves out is carried to the next one (arXiv 1901.09847).

    Owns the residual, fp32, where the numbers are. It moves on only when a payload is known to count, so that
    a round that is repeated sends the same bytes, and one that is thrown away leaves no trace. It dies with
    its process.
    """

    def __init__(self, encode: Encoder) -> None:
        """Begin without a residual."""
        self._encode = encode
        self._residual: torch.Tensor | None = None
        self._next: torch.Tensor | None = None

    def encode(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the payload of `flat` (fp32, [numbers]; used up) and what earlier ones left out."""
        payload, self._next = self._encode(flat, self._residual)
        return payload

    def counted(self) -> None:
        """The last payload is in a commit."""
        if self._next is not None:
            self._residual, self._next = self._next, None

    def add(self, span: tuple[int, int], rest: torch.Tensor) -> None:
        """Let the next payload carry the `rest` of numbers [first, last), too; after `counted`."""
        if self._residual is not None:
            self._residual[slice(*span)] += rest.to(self._residual.device)

    def discarded(self) -> None:
        """The last payload will never be in one."""
        self._next = None
