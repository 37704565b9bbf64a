"""relu squared as a pass: torch's bytes forward, and a gradient that errs no more than torch's."""

from types import ModuleType

import pytest
import torch
from accuracy import assert_accurate
from curtail_kernels import mlp_relu2
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SPECIAL = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-30, -1e-30)


def inputs(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    z, dh = torch.randn(2, count, generator=generator).to(dtype)
    return z, dh


def compare_squares(module: ModuleType, z: Tensor, block: int) -> None:
    h = torch.where(z.isnan(), 0, torch.full_like(z, torch.nan))
    module.launch_squares(z, h, block=block)
    torch.testing.assert_close(h, torch.relu(z).square(), rtol=0, atol=0, equal_nan=True)


def compare_slopes(module: ModuleType, count: int, dtype: torch.dtype, block: int) -> None:
    z, dh = inputs(count, dtype)
    dz = torch.full_like(z, torch.nan)
    module.launch_slopes(torch.relu(z).square(), dh, dz, block=block)
    leaf, exact = z.clone().requires_grad_(), z.double().requires_grad_()
    torch.relu(leaf).square().backward(dh)
    torch.relu(exact).square().backward(dh.double())
    assert leaf.grad is not None
    assert exact.grad is not None
    assert_accurate(dz, leaf.grad, exact.grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 256, 257, 1000])
def test_squares_have_the_bytes_of_torch(count, dtype):
    z, _ = inputs(count, dtype)
    for place, value in zip(range(0, count, 3), SPECIAL, strict=False):
        z[place] = value
    compare_squares(mlp_relu2, z, block=256)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5, 256, 257, 1000])
def test_the_gradient_from_the_squares_errs_no_more_than_torchs(count, dtype):
    compare_slopes(mlp_relu2, count, dtype, block=256)


def test_slopes_of_what_is_no_number_are_torchs():
    z, dh = torch.tensor(SPECIAL * 2), torch.tensor([1.0] * 7 + [float("inf")] * 7)
    dz = torch.zeros_like(z)
    mlp_relu2.launch_slopes(torch.relu(z).square(), dh, dz)
    leaf = z.clone().requires_grad_()
    torch.relu(leaf).square().backward(dh)
    assert leaf.grad is not None
    assert leaf.grad[5] == pytest.approx(2e-30)
    assert dz[5] == 0  # the square of 1e-30 is no number of fp32
    torch.testing.assert_close(dz[:5], leaf.grad[:5], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_may_work_in_place(dtype):
    z, dh = inputs(1000, dtype)
    h, dz = torch.relu(z).square(), torch.empty_like(dh)
    mlp_relu2.launch_slopes(h, dh, dz, block=256)
    mlp_relu2.launch_squares(z, z, block=256)
    mlp_relu2.launch_slopes(h, dh, dh, block=256)
    assert torch.equal(z, h)
    assert torch.equal(dh, dz)


def test_nothing_is_launched_for_no_numbers():
    mlp_relu2.launch_squares(torch.empty(0), torch.empty(0))
    mlp_relu2.launch_slopes(torch.empty(0), torch.empty(0), torch.empty(0))
