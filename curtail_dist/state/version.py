"""S(n): one version of the run's state as tensors, and the hash that names its bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from curtail_dist.state.raw import raw

PARAMETER = "parameter/"
OPTIMIZER = "outer/"


@dataclass(frozen=True, kw_only=True)
class Version:
    """The state after commit `number`, on the CPU. Never changed in place.

    `tensors` maps `parameter/NAME` to global parameters (fp32) and `outer/NAME/KEY` to the outer optimizer's
    state. The ledger and the token count of the version stand in its commit record.
    """

    number: int
    tensors: Mapping[str, torch.Tensor]

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @cached_property
    def hash(self) -> str:
        """SHA-256 over names, types, shapes and bytes, independent of the order of insertion."""
        return hash_of(self.tensors)


def hash_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes, independent of the order of insertion."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(raw(tensor))
    return digest.hexdigest()
