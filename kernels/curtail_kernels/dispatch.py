"""Which implementation computes an attention: one table, read from the top, from what a call looks like.

What is not known to be faster is not taken: the fused kernels stand in no row until a GPU has measured them,
and are there for those who ask.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from curtail_kernels.attention.configs import HEAD_DIMS
from curtail_kernels.own import is_full

logger = logging.getLogger(__name__)

Implementation = Literal["triton", "cudnn", "flex", "plain"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is known of a call before it is made."""

    device: str
    """Type of the device: cpu, cuda, ..."""
    capability: tuple[int, int] | None
    """Of a CUDA device: (9, 0) is Hopper."""
    dtype: torch.dtype
    head_dim: int
    queries: int
    """T, the newest of ..."""
    keys: int
    """... S positions."""
    window: int | None
    """How many positions before its own a query sees; None: all."""

    @property
    def full(self) -> bool:
        """Whether each query sees all before it."""
        return is_full(self.keys, self.window)


@dataclass(frozen=True, kw_only=True)
class Means:
    """What computes a model."""

    attention: Implementation | None = None
    """What computes attention in training; None: what the table says."""
    fused: bool = False
    """Whether the MLP's relu squared, and the head with its loss, are by the fused kernels; without CUDA
    those are plain torch in the same order."""


PLAIN_MEANS = Means()


class Row(NamedTuple):
    """The first row whose condition holds says what is taken."""

    holds: Callable[[Call], bool]
    taken: Implementation
    why: str


def _on_tensor_cores(call: Call) -> bool:
    return call.device == "cuda" and call.dtype in HALF


def _flex_can(call: Call) -> bool:
    """FlexAttention's blocks have a power of two of at least 16 on each side."""
    return call.head_dim >= 16 and call.head_dim & (call.head_dim - 1) == 0


TABLE = (
    Row(lambda call: call.device != "cuda", "plain", "no GPU"),
    Row(lambda call: call.queries != call.keys, "plain", "generation: few queries, many keys"),
    Row(lambda call: not _on_tensor_cores(call), "plain", "neither bf16 nor fp16"),
    Row(lambda call: not call.full and not _flex_can(call), "plain", "a window, and an odd head"),
    Row(lambda call: not call.full, "flex", "a window: it leaves out blocks that no query sees"),
    Row(
        lambda call: (call.capability or (0, 0)) >= (9, 0) and call.head_dim <= 128,
        "cudnn",
        "Hopper or later: about twice as fast as what torch takes of itself",
    ),
    Row(lambda _: True, "plain", "torch's own choice"),
)


def choose(call: Call) -> Row:
    """The row of the table for `call`."""
    return next(row for row in TABLE if row.holds(call))


def refusal(implementation: Implementation, call: Call) -> str | None:
    """Why `implementation` cannot do `call`; None if it can."""
    if implementation == "plain":
        return None
    if call.device != "cuda":
        return f"the tensors are on {call.device}; it must be cuda"
    if implementation == "cudnn" and not (call.queries == call.keys and call.full and call.dtype in HALF):
        return "cuDNN is asked for bf16 or fp16, as many queries as keys, and no window"
    if implementation == "flex" and not _flex_can(call):
        return f"head_dim is {call.head_dim}; FlexAttention must have a power of two of at least 16"
    if implementation == "triton" and call.head_dim not in HEAD_DIMS:
        dims = " or ".join(map(str, HEAD_DIMS))
        return f"head_dim is {call.head_dim}; the fused kernels must have {dims}"
    return None


def implementation_of(call: Call, asked: Implementation | None) -> Implementation:
    """What computes `call`: what was asked for, or what the table says; said once in the log.

    What was asked for is for training; generation, with few queries and many keys, keeps to the table.

    Raises:
        ValueError: What was asked for is none of IMPLEMENTATIONS, or cannot do `call`.
    """
    if asked is not None and asked not in IMPLEMENTATIONS:
        raise ValueError(f"the attention is {asked!r}; it must be one of {', '.join(IMPLEMENTATIONS)}")
    row = choose(call)
    if asked is None or call.queries != call.keys:
        _say(row.taken, row.why)
        return row.taken
    if reason := refusal(asked, call):
        raise ValueError(f"the attention {asked!r} cannot be had: {reason}; {row.taken!r} can")
    _say(asked, "asked for")
    return asked


def implementation_for(
    q: Tensor, k: Tensor, window: int | None, asked: Implementation | None
) -> Implementation:
    """The same for q [B, T, H, D] and k [B, S, Hkv, D]; a compiled graph holds the result."""
    return _decided(q.device.type, q.dtype, q.size(3), q.size(1), k.size(1), window, asked)


def _decided(
    device: str,
    dtype: torch.dtype,
    head_dim: int,
    queries: int,
    keys: int,
    window: int | None,
    asked: Implementation | None,
) -> Implementation:
    capability = torch.cuda.get_device_capability() if device == "cuda" else None
    call = Call(
        device=device,
        capability=capability,
        dtype=dtype,
        head_dim=head_dim,
        queries=queries,
        keys=keys,
        window=window,
    )
    return implementation_of(call, asked)


# As torch.compiler.assume_constant_result does, which would import the compiler: seconds of each process.
_decided._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


@cache
def _say(taken: Implementation, why: str) -> None:
    logger.info("attention by %s: %s", taken, why)
