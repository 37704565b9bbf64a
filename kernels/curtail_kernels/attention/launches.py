"""Every launch that the table ships for Hopper, on small tensors, for a driver that compiles only."""

from collections.abc import Iterator
from itertools import product

import torch

from curtail_kernels.attention.configs import HEAD_DIMS, PATHS, Path, config_for
from curtail_kernels.attention.dkdv import launch_dkdv
from curtail_kernels.attention.dq import launch_dq
from curtail_kernels.attention.forward import launch_forward
from curtail_kernels.attention.operands import Placing, Unplaced
from curtail_kernels.attention.prologue import launch_rotary_norm

HOPPER = (9, 0)
B, T, H, HKV = 1, 256, 4, 2
WINDOW = 64


def hopper_launches() -> Iterator[str]:
    """Perform each launch and say after it what it was: kernel, D, path, variant; fp16 where it is that."""
    yield from _of(torch.bfloat16)
    for label in _of(torch.float16):
        yield f"{label} fp16"


def _of(dtype: torch.dtype) -> Iterator[str]:
    for D, path in product(HEAD_DIMS, PATHS):
        yield from _forward(D, path, dtype)
        yield from _backward(D, path, dtype)
    for D in HEAD_DIMS:
        yield from _prologue(D, dtype)


def _variants(path: Path) -> Iterator[tuple[int | None, torch.Tensor | None, str]]:
    yield None, None, "whole"
    yield WINDOW, None, "window"
    if path == "pointers":
        yield None, torch.tensor([T], dtype=torch.int32), "ragged"
        yield WINDOW, torch.tensor([T], dtype=torch.int32), "window ragged"


def _forward(D: int, path: Path, dtype: torch.dtype) -> Iterator[str]:
    q, k, v, lse = _inputs(D, dtype)
    config = config_for("forward", HOPPER, D, path, dtype.itemsize)
    unplaced = Unplaced(torch.empty_like(q), torch.ones(B, T, H), *_tables(D), 1.2, 1e-6)
    for (window, lengths, name), bounded, raw in product(_variants(path), (True, False), (None, unplaced)):
        if raw is not None and lengths is not None:
            continue
        launch_forward(
            q, k, v, torch.empty_like(q), lse, scale=D**-0.5, window=window, lengths=lengths,
            bounded=bounded, path=path, config=config, unplaced=raw,
        )  # fmt: skip
        variant = f"{'bounded' if bounded else 'online'} {'raw' if raw else 'plain'}"
        yield f"forward D {D} {path} {name} {variant}"


def _backward(D: int, path: Path, dtype: torch.dtype) -> Iterator[str]:
    q, k, v, lse = _inputs(D, dtype)
    placing = Placing(torch.ones(B, T, H), torch.ones(B, T, HKV), *_tables(D), 1.2)
    dq_config = config_for("dq", HOPPER, D, path, dtype.itemsize)
    dkdv_config = config_for("dkdv", HOPPER, D, path, dtype.itemsize)
    for (window, lengths, name), raw in product(_variants(path), (None, placing)):
        if raw is not None and lengths is not None:
            continue
        suffix = f"D {D} {path} {name} {'raw' if raw else 'plain'}"
        shared = {"scale": D**-0.5, "window": window, "lengths": lengths, "placing": raw, "path": path}
        launch_dq(q, k, v, q, q, lse, lse.clone(), torch.empty_like(q), **shared, config=dq_config)
        yield f"dq {suffix}"
        launch_dkdv(
            q, k, v, q, lse, lse, torch.empty_like(k), torch.empty_like(v), **shared, config=dkdv_config
        )
        yield f"dkdv {suffix}"


def _prologue(D: int, dtype: torch.dtype) -> Iterator[str]:
    q, k, _, _ = _inputs(D, dtype)
    for tables in (torch.float32, dtype):
        cos, sin = (table.to(tables) for table in _tables(D))
        launch_rotary_norm(
            q, k, cos, sin, torch.empty_like(q), torch.empty_like(k), torch.ones(B, T, H),
            torch.ones(B, T, HKV), gain=1.2, eps=1e-6,
            config=config_for("prologue", HOPPER, D, "pointers", dtype.itemsize),
        )  # fmt: skip
        yield f"prologue D {D} tables {'float32' if tables == torch.float32 else 'as q'}"


def _inputs(D: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    q = torch.zeros(B, T, H, D, dtype=dtype)
    k = torch.zeros(B, T, HKV, D, dtype=dtype)
    return q, k, torch.zeros_like(k), torch.zeros(B, H, T)


def _tables(D: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(T, 1, D // 2), torch.zeros(T, 1, D // 2)
