"""A model's pseudo-gradients as bytes, one part a fragment, and their mean."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import torch

from curtail_dist.outer.codec import (
    CODECS,
    FOR_MEANS,
    Float32,
    average,
    count,
    decode,
    unflatten,
)
from curtail_dist.outer.feedback import Feedback, encoder
from curtail_dist.outer.fragments import Fragments
from curtail_dist.outer.fused import fused_encoder

Which = Sequence[int]
"""Fragments, by number, in the order in which they are exchanged."""

Span: TypeAlias = tuple[int, int]
"""Numbers [first, last) of a fragment."""


class Payloads:
    """Encodes and averages fragments. A payload of several fragments is theirs, one after the other.

    Owns the residuals, one a fragment.
    """

    def __init__(
        self, codec: str, fragments: Fragments, like: Mapping[str, torch.Tensor], *, fused: bool = False
    ) -> None:
        """Make payloads of parameters that have the shapes of `like`, by one of codec.CODECS.

        `fused` takes the fused kernels where the parameters are on a GPU; the bytes are the same.
        """
        self._codec = CODECS[codec]
        self._for_means = FOR_MEANS[codec]
        self._fragments = fragments
        self._shapes = [[like[name].shape for name in names] for names in fragments]
        self._numbers = [count([like[name] for name in names]) for names in fragments]
        self._feedback = [
            Feedback(fused_encoder(codec) if fused else encoder(self._codec)) for _ in fragments
        ]
        self._left_out: dict[int, tuple[Span, torch.Tensor]] = {}
        """By fragment: a span, and what its last mean left out, scaled up to this member's own weight."""

    @torch.no_grad()
    def encode(
        self, which: Which, anchor: Mapping[str, torch.Tensor], local: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return the payload (uint8, CPU) of anchor - local, encoded where the local parameters are.

        Of the anchor that is what a local parameter has of it, in its own type: what rounding took from it
        was not learned. `settle` is called when it is known what became of the payload.
        """
        parts: list[torch.Tensor] = []
        for fragment in which:
            names = self._fragments[fragment]
            device = local[names[0]].device
            flat = torch.empty(self._numbers[fragment], dtype=torch.float32, device=device)
            for name, place in zip(names, unflatten(flat, self._shapes[fragment]), strict=True):
                mine = local[name].detach()
                began = anchor[name].to(device=place.device, dtype=mine.dtype)
                torch.sub(began.float(), mine.float(), out=place)
            parts.append(_on_host(self._feedback[fragment].encode(flat)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def is_finite(self, which: Which, payload: torch.Tensor) -> bool:
        """Whether a payload has only finite numbers."""
        parts = zip(which, self.split(which, payload), strict=True)
        return all(self._codec.is_finite(part, self._numbers[fragment]) for fragment, part in parts)

    def settle(self, counted: Collection[int], moved: Collection[int] = ()) -> None:
        """Say which fragments of the last payload are in a commit; the others never will be.

        What a lossy codec left out of those travels with the next. So does what it left out of this member's
        span of a mean, if that is known to be in the commit, which `moved` these fragments.
        """
        for fragment, feedback in enumerate(self._feedback):
            if fragment in counted:
                feedback.counted()
                if fragment in moved and fragment in self._left_out:
                    feedback.add(*self._left_out[fragment])
            else:
                feedback.discarded()
        self._left_out.clear()

    def numbers(self, which: Which) -> int:
        """Return how many numbers these fragments have."""
        return sum(self._numbers[fragment] for fragment in which)

    def size(self, which: Which) -> int:
        """Return the bytes of a payload of these fragments."""
        return sum(self._codec.size(self._numbers[fragment]) for fragment in which)

    def split(self, which: Which, payload: torch.Tensor) -> list[torch.Tensor]:
        """Return a payload's part of each fragment.

        Raises ValueError if it has another size than those fragments have.
        """
        if payload.numel() != self.size(which):
            raise ValueError(
                f"a payload has {payload.numel()} bytes; for this model it must have {self.size(which)}"
            )
        parts = payload.split([self.size((fragment,)) for fragment in which])
        return [part if part.storage_offset() % 4 == 0 else part.clone() for part in parts]  # viewed as fp32

    def cut(self, fragment: int, part: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return the payload of a fragment's numbers [first, last) from that of all of them.

        `first` is a multiple of codec.BLOCK, and `last` is, too, or the end.
        """
        return self._codec.cut(part, self._numbers[fragment], first, last)

    def size_of(self, numbers: int) -> int:
        """Return the bytes of a payload of so many numbers."""
        return self._codec.size(numbers)

    def mean_of_span(
        self,
        fragment: int,
        span: Span,
        parts: Sequence[torch.Tensor | None],
        weights: Sequence[float],
        mine: float,
    ) -> torch.Tensor:
        """Return the weighted mean of a span of a fragment, encoded for all members.

        What that leaves out goes into this member's next payload, in as much as its weight, now `mine`, is
        less than all; a member without weight gives it up. It needs no residual of its own in memory so, and
        spans may change from one exchange to the next.
        """
        mean = average(self._codec, parts, weights, span[1] - span[0])
        payload = self._for_means.encode(mean)
        if mine and not isinstance(self._for_means, Float32):
            rest = mean.sub_(self.decoded_mean(payload, mean.numel())).mul_(sum(weights) / mine)
            self._left_out[fragment] = (span, rest)
        return payload

    def size_of_mean(self, numbers: int) -> int:
        """Return the bytes of an encoded mean of so many numbers."""
        return self._for_means.size(numbers)

    def decoded_mean(self, payload: torch.Tensor, numbers: int) -> torch.Tensor:
        """Return the numbers (fp32, [numbers]) of an encoded mean."""
        return decode(self._for_means, payload, numbers)

    def mean(
        self, which: Which, payloads: Sequence[torch.Tensor | None], weights: Sequence[Sequence[float]]
    ) -> list[torch.Tensor | None]:
        """Return the mean pseudo-gradient (fp32, flat) of each fragment; the same bytes everywhere.

        Args:
            which: The fragments that the payloads hold.
            payloads: One a rank; None for those that contribute nothing.
            weights: One list a rank, with a weight for each of these fragments. A rank without weight in one
                is skipped in it. A fragment in which nobody has weight has None.
        """
        split = [None if one is None else self.split(which, one) for one in payloads]
        found: list[torch.Tensor | None] = []
        for place, fragment in enumerate(which):
            shares = [each[place] for each in weights]
            parts = [
                parts[place] if parts is not None and share else None
                for parts, share in zip(split, shares, strict=True)
            ]
            has = any(part is not None for part in parts)
            found.append(average(self._codec, parts, shares, self._numbers[fragment]) if has else None)
        return found

    def by_parameter(self, which: Which, flat: Sequence[torch.Tensor | None]) -> dict[str, torch.Tensor]:
        """Return each parameter's part of flat fragments, without those that are None; memory is shared."""
        found: dict[str, torch.Tensor] = {}
        for fragment, whole in zip(which, flat, strict=True):
            if whole is not None:
                names = self._fragments[fragment]
                found.update(zip(names, unflatten(whole, self._shapes[fragment]), strict=True))
        return found


def _on_host(payload: torch.Tensor) -> torch.Tensor:
    """Return a payload in host memory; one from an accelerator is copied to pages that stay in place."""
    if payload.device.type == "cpu":
        return payload
    return torch.empty(payload.shape, dtype=payload.dtype, device="cpu", pin_memory=True).copy_(payload)
