"""relu squared: the bytes of torch's two steps, forward and backward."""

from types import ModuleType

import pytest
import torch
from curtail_kernels import relu2
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SPECIAL = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-30, -1e-30)


def inputs(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x, dy = torch.randn(2, count, generator=generator).to(dtype)
    for place, value in zip(range(0, count, 3), SPECIAL, strict=False):
        x[place] = value
    return x, dy


def compare(module: ModuleType, count: int, dtype: torch.dtype, block: int) -> None:
    x, dy = inputs(count, dtype)
    y, dx = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    y[x.isnan()] = dx[x.isnan()] = 0
    module.launch_relu2(x, y, block=block)
    module.launch_relu2_backward(x, dy, dx, block=block)
    leaf = x.clone().requires_grad_()
    want = torch.relu(leaf).square()
    want.backward(dy)
    torch.testing.assert_close(y, want.detach(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(dx, leaf.grad, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 256, 257, 1000])
def test_both_ways_give_the_bytes_of_torch(count, dtype):
    compare(relu2, count, dtype, block=256)


def test_nothing_is_launched_for_no_numbers():
    relu2.launch_relu2(torch.empty(0), torch.empty(0))
    relu2.launch_relu2_backward(torch.empty(0), torch.empty(0), torch.empty(0))
