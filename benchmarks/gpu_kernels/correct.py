"""Whether attention is right: small cases against fp64, and two runs against each other to the bit."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from curtail_kernels import own
from curtail_kernels.attention.reference import reference_attention
from torch import Tensor

from gpu_kernels.cases import Case, Inputs, inputs
from gpu_kernels.timing import relative_error, same_bits

TIMES = 1.25
FLOOR = 1e-3
"""An error may be TIMES that of torch's own path in the same dtype, and FLOOR more."""
LEAST = 1e-2
"""Share of |do| that a norm is taken for where it is less: with window 0, dq and dk are 0."""
NAMES = ("o", "dq", "dk", "dv")


def attention_checks(
    device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The small cases by name: errors of o, dq, dk and dv beside torch's, and whether two runs agree."""
    for D, group, (T, window), bounded in product(
        (64, 128), (1, 3), ((300, None), (256, 40), (130, 0), (17, 1)), (True, False)
    ):
        case = Case(B=2, T=T, D=D, width=3 * D, window=window, group=group)
        name = f"attention T {T} D {D} window {window} group {group} bounded {bounded}"
        yield name, partial(_attention, case, bounded, device, dtype)


def _attention(case: Case, bounded: bool, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    from curtail_kernels.attention.op import attention

    given = inputs(case, device, dtype)
    bound = case.bound if bounded else float("inf")
    runs = [
        _with_gradients(given, attention(given.q, given.k, given.v, window=case.window, bound=bound))
        for _ in range(2)
    ]
    torchs = _with_gradients(given, own.plain(given.q, given.k, given.v, case.window))
    least = LEAST * given.do.double().norm().item()
    errors = judged(NAMES, runs, torchs, _exact(case, given), least)
    return {"what": "attention", **case.label(), "bounded": bounded, **errors}


def judged(
    names: Sequence[str],
    runs: Sequence[Sequence[Tensor]],
    torchs: Sequence[Tensor],
    exact: Sequence[Tensor],
    least: float = 0.0,
) -> dict[str, Any]:
    """Errors beside what they may be, and whether two runs agree to the bit.

    Args:
        names: Of the results.
        runs: The results of two runs of ours.
        torchs: Those of torch's own path in the same dtype.
        exact: Those in fp64 on the same inputs.
        least: See `relative_error`.
    """
    errors = [relative_error(*pair, least) for pair in zip(runs[0], exact, strict=True)]
    allowed = [TIMES * relative_error(*pair, least) + FLOOR for pair in zip(torchs, exact, strict=True)]
    agree = all(same_bits(a, b) for a, b in zip(*runs, strict=True))
    right = all(error <= most for error, most in zip(errors, allowed, strict=True))
    return {
        "errors": dict(zip(names, errors, strict=True)),
        "at_most": dict(zip(names, allowed, strict=True)),
        "two_runs_agree": agree,
        "holds": right and agree,
    }


def _with_gradients(given: Inputs, o: Tensor) -> list[Tensor]:
    return [o.detach(), *torch.autograd.grad(o, (given.q, given.k, given.v), given.do)]


def _exact(case: Case, given: Inputs) -> list[Tensor]:
    leaves = [x.detach().double().requires_grad_() for x in (given.q, given.k, given.v)]
    o, _ = reference_attention(*leaves, window=case.window)
    return [o.detach(), *torch.autograd.grad(o, leaves, given.do.double())]
