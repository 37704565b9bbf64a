"""Which attentions are measured, on what inputs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from curtail_kernels.own import Place
from torch import Tensor

GAIN = 1.2
EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Case:
    """The shape of one attention."""

    B: int
    T: int
    D: int
    width: int
    """H D, of the queries."""
    window: int | None
    group: int
    """Query heads for each kv head."""

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.width // self.D

    @property
    def bound(self) -> float:
        """No |q k| / sqrt(D) of normed queries and keys is above this."""
        return GAIN**2 * self.D**0.5

    def pairs(self) -> int:
        """Pairs of a query and a key that it sees, in one head."""
        seen = self.T if self.window is None else min(self.window + 1, self.T)
        return seen * (seen + 1) // 2 + (self.T - seen) * seen

    def operations(self) -> dict[str, int]:
        """Of forward and of backward: two products of 2 D operations a pair, and five."""
        product = 2 * self.B * self.heads * self.D * self.pairs()
        return {"forward": 2 * product, "backward": 5 * product}

    def label(self) -> dict[str, Any]:
        """What a row of the results says of it."""
        return {**asdict(self), "heads": self.heads}


class Inputs(NamedTuple):
    """Of one case. q, k and v are leaves that want gradients."""

    q: Tensor
    """[B, T, H, D], normed, times the gain."""
    k: Tensor
    """[B, T, Hkv, D], as q."""
    v: Tensor
    """[B, T, Hkv, D]."""
    do: Tensor
    """Gradient of the output, [B, T, H, D]."""
    place: Place
    """What stands before attention in the whole path, which takes q and k for raw projections."""


def inputs(case: Case, device: torch.device, dtype: torch.dtype = torch.bfloat16, seed: int = 1) -> Inputs:
    """The same numbers for the same case and seed."""
    generator = torch.Generator(device).manual_seed(seed)

    def drawn(heads: int) -> Tensor:
        shape = (case.B, case.T, heads, case.D)
        return torch.randn(shape, device=device, dtype=torch.float32, generator=generator)

    def normed(x: Tensor) -> Tensor:
        return (F.rms_norm(x, (case.D,), eps=EPS) * GAIN).to(dtype).requires_grad_()

    Hkv = case.heads // case.group
    exponents = torch.arange(0, case.D, 2, device=device) / case.D
    angles = torch.outer(torch.arange(case.T, device=device).float(), 10_000.0**-exponents)[:, None, :]
    return Inputs(
        normed(drawn(case.heads)),
        normed(drawn(Hkv)),
        drawn(Hkv).to(dtype).requires_grad_(),
        drawn(case.heads).to(dtype),
        Place(angles.cos().to(dtype), angles.sin().to(dtype), GAIN, EPS),
    )


def grid(B: int, lengths: tuple[int, ...], window: int, width: int) -> Iterator[Case]:
    """Every combination; those that the goals speak of most come first."""
    for group, T, cut, D in product((1, 4), lengths, (None, window), (128, 64)):
        yield Case(B=B, T=T, D=D, width=width, window=cut, group=group)
