"""A model's pseudo-gradients as bytes, one part a fragment, and their mean."""

from collections.abc import Collection, Mapping, Sequence

import torch

from curtail_dist.outer.codec import Codec, Feedback, average, count, decode, flatten, unflatten
from curtail_dist.outer.fragments import Fragments

Which = Sequence[int]
"""Fragments, by number, in the order in which they are exchanged."""


class Payloads:
    """Encodes and averages fragments. A payload of several fragments is theirs, one after the other.

    Owns the residuals, one a fragment.
    """

    def __init__(self, codec: Codec, fragments: Fragments, like: Mapping[str, torch.Tensor]) -> None:
        """Make payloads of parameters that have the shapes of `like`."""
        self._codec = codec
        self._fragments = fragments
        self._shapes = [[like[name].shape for name in names] for names in fragments]
        self._numbers = [count([like[name] for name in names]) for names in fragments]
        self._feedback = [Feedback(codec) for _ in fragments]

    @torch.no_grad()
    def encode(
        self, which: Which, anchor: Mapping[str, torch.Tensor], local: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return the payload (uint8, CPU) of anchor - local, encoded where the local parameters are.

        `settle` is called when it is known what became of it.
        """
        parts: list[torch.Tensor] = []
        for fragment in which:
            differences = [
                anchor[name].to(local[name].device) - local[name].detach().float()
                for name in self._fragments[fragment]
            ]
            parts.append(self._feedback[fragment].encode(flatten(differences)).cpu())
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def is_finite(self, which: Which, payload: torch.Tensor) -> bool:
        """Whether a payload has only finite numbers."""
        parts = zip(which, self._split(which, payload), strict=True)
        return all(
            bool(torch.isfinite(decode(self._codec, part, self._numbers[fragment])).all())
            for fragment, part in parts
        )

    def settle(self, counted: Collection[int]) -> None:
        """Say which fragments of the last payload are in a commit; the others never will be.

        What a lossy codec left out of those travels with the next.
        """
        for fragment, feedback in enumerate(self._feedback):
            if fragment in counted:
                feedback.counted()
            else:
                feedback.discarded()

    def mean(
        self, which: Which, payloads: Sequence[torch.Tensor | None], weights: Sequence[Sequence[float]]
    ) -> dict[str, torch.Tensor]:
        """Return the mean pseudo-gradient (fp32) by parameter; the same bytes everywhere.

        Args:
            which: The fragments that the payloads hold.
            payloads: One a rank; None for those that contribute nothing.
            weights: One list a rank, with a weight for each of these fragments. A rank without weight in one
                is skipped in it. A fragment in which nobody has weight is left out of the result.
        """
        split = [None if one is None else self._split(which, one) for one in payloads]
        found: dict[str, torch.Tensor] = {}
        for place, fragment in enumerate(which):
            shares = [each[place] for each in weights]
            parts = [
                parts[place] if parts is not None and share else None
                for parts, share in zip(split, shares, strict=True)
            ]
            if all(part is None for part in parts):
                continue
            mean = average(self._codec, parts, shares, self._numbers[fragment])
            names = self._fragments[fragment]
            found.update(zip(names, unflatten(mean, self._shapes[fragment]), strict=True))
        return found

    def _split(self, which: Which, payload: torch.Tensor) -> list[torch.Tensor]:
        """Raise ValueError if the payload has another size than those fragments have."""
        sizes = [self._codec.size(self._numbers[fragment]) for fragment in which]
        if payload.numel() != sum(sizes):
            raise ValueError(
                f"a payload has {payload.numel()} bytes; for this model it must have {sum(sizes)}"
            )
        parts = payload.split(sizes)
        return [
            part if part.storage_offset() % 4 == 0 else part.clone() for part in parts
        ]  # for views as fp32
