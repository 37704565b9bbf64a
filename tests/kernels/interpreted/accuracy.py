"""How far a result may be from fp64 on the same inputs."""

import torch
from torch import Tensor

FLOOR = 1e-3
"""Of 16-bit results, on top of 1.25 times what torch's own path errs in the same dtype."""
FP32 = 2e-6


def error(got: Tensor, exact: Tensor) -> float:
    """Relative Frobenius error; the absolute one of what is exactly 0."""
    whole = exact.double().norm().item()
    return (got.double() - exact.double()).norm().item() / (whole or 1.0)


def assert_accurate(
    got: Tensor, own: Tensor, exact: Tensor, dtype: torch.dtype, *, as_torch: bool = False
) -> None:
    """Hold `got` to fp64.

    Args:
        got: The result; NaN anywhere is too far.
        own: Torch's result from the same inputs in their dtype.
        exact: The fp64 result from the same inputs.
        dtype: Of the inputs.
        as_torch: In fp32 too 1.25 times torch's error is enough: for inputs that fp32 cannot tell apart.
    """
    limit = FP32 if dtype == torch.float32 else 1.25 * error(own, exact) + FLOOR
    limit = max(limit, 1.25 * error(own, exact)) if as_torch else limit
    found = error(got, exact)
    assert found <= limit, f"the error is {found:.2e}; it must be at most {limit:.2e}"
