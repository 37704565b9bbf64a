"""S(n): one version of the run's state as tensors, and the hash that names the version and its bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    _known: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, compare=False)
    """Digests of tensors that an earlier version has hashed."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each tensor: its name, type, shape and bytes."""
        return {name: self._known.get(name) or digest_of(name, value) for name, value in self.tensors.items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the number and the digests, independent of the order of insertion.

        With the number, since a round that moves nothing (a learning rate of 0) makes a version of its own: a
        commit is known by its hash.
        """
        return hashlib.sha256(f"{self.number} {combined(self.digests)}".encode()).hexdigest()

    def after(self, before: "Version") -> "Version":
        """Return this version, which need not hash again what it shares with the one before it."""
        done: dict[str, str] = before.__dict__.get("digests", {})
        shared = {
            name: digest
            for name, digest in done.items()
            if name in self.tensors and _same(self.tensors[name], before.tensors[name])
        }
        return Version(number=self.number, tensors=self.tensors, _known=shared)


def hash_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over the digests of named tensors, independent of the order of insertion."""
    return combined({name: digest_of(name, tensor) for name, tensor in tensors.items()})


def digest_of(name: str, tensor: torch.Tensor) -> str:
    """Return the SHA-256 over a tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    digest.update(raw(tensor))
    return digest.hexdigest()


def combined(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 over digests in the order of their names."""
    return hashlib.sha256("".join(digests[name] for name in sorted(digests)).encode()).hexdigest()


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same memory, seen alike."""
    return (one.data_ptr(), one.shape, one.stride(), one.dtype) == (
        other.data_ptr(),
        other.shape,
        other.stride(),
        other.dtype,
    )
