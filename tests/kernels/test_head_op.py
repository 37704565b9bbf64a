"""The head's operators on a CPU: gradients, reductions, what torch asks of an operator, errors."""

from typing import Any

import pytest
import torch
from curtail_kernels.head import head_loss, reference_head_loss
from torch import Tensor
from torch.library import opcheck

REDUCTIONS = ("sum", "mean", "none")


def inputs(N: int = 21, C: int = 16, V: int = 53) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(N)
    x, weight = torch.randn(N, C, generator=generator), torch.randn(V, C, generator=generator)
    targets = torch.randint(V, (N,), generator=generator)
    targets[::5] = -1
    return x.requires_grad_(), weight.requires_grad_(), targets


@pytest.mark.parametrize("softcap", [None, 15.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("chunk", [8, 100])
def test_loss_and_gradients_are_those_of_the_plain_head(chunk, reduction, softcap):
    x, weight, targets = inputs()
    named: dict[str, Any] = {"softcap": softcap, "reduction": reduction}
    got = head_loss(x, weight, targets, chunk=chunk, **named)
    want = reference_head_loss(x, weight, targets, **named)
    torch.testing.assert_close(got, want)
    above = torch.rand(want.shape, generator=torch.Generator().manual_seed(1))
    for ours, plain in zip(
        torch.autograd.grad(got, (x, weight), above),
        torch.autograd.grad(want, (x, weight), above),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_without_gradients_the_loss_is_the_same(reduction):
    x, weight, targets = inputs()
    with torch.no_grad():
        bare = head_loss(x, weight, targets, softcap=15.0, reduction=reduction, chunk=8)
    assert not bare.requires_grad
    assert torch.equal(bare, head_loss(x, weight, targets, softcap=15.0, reduction=reduction, chunk=8))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_of_the_two_may_be_frozen(reduction):
    x, weight, targets = inputs()
    for frozen in (x, weight):
        x.grad = weight.grad = None
        frozen.requires_grad_(False)
        head_loss(x, weight, targets, reduction=reduction).sum().backward()
        frozen.requires_grad_()
        assert frozen.grad is None
        assert (x.grad is None) != (weight.grad is None)


def test_the_mean_of_no_target_is_nan_and_the_sum_zero():
    x, weight, targets = inputs()
    targets.fill_(-1)
    assert head_loss(x, weight, targets).isnan()
    assert head_loss(x, weight, targets, reduction="sum") == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_in_autocast_the_product_is_bf16_and_the_weight_gets_an_fp32_gradient(reduction):
    x, weight, targets = inputs(N=64, C=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = head_loss(x, weight, targets, softcap=15.0, reduction=reduction, chunk=16).sum()
        want = reference_head_loss(x.bfloat16(), weight, targets, softcap=15.0, reduction=reduction).sum()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    exact = reference_head_loss(
        x.bfloat16().double(), weight.bfloat16().double(), targets, softcap=15.0, reduction=reduction
    ).sum()
    (ours,) = torch.autograd.grad(got, weight)
    (plain,) = torch.autograd.grad(want, weight)
    (right,) = torch.autograd.grad(exact, weight)
    assert ours.dtype == torch.float32
    assert (ours - right).norm() <= 1.25 * (plain - right).norm() + 1e-3 * right.norm()


@pytest.mark.parametrize("gradient", [True, False])
def test_torch_accepts_the_operator_of_the_sum(gradient):
    x, weight, targets = inputs()
    given = (x, weight) if gradient else (x.detach(), weight.detach())
    opcheck(torch.ops.curtail.head_total.default, (*given, targets, 15.0, -1, 8, gradient))


def test_torch_accepts_the_operators_of_losses_a_token():
    x, weight, targets = inputs()
    opcheck(torch.ops.curtail.head_losses.default, (x, weight, targets, 15.0, -1, 8))
    given = (torch.rand(21), x.detach(), weight.detach())
    opcheck(torch.ops.curtail.head_losses_backward.default, (*given, targets, 15.0, -1, 8))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_it_compiles_as_one_graph(reduction):
    x, weight, targets = inputs()
    run = torch.compile(
        lambda *given: head_loss(*given, softcap=15.0, reduction=reduction, chunk=8).sum(),
        fullgraph=True,
        backend="aot_eager",
    )
    got = torch.autograd.grad(run(x, weight, targets), (x, weight))
    want = torch.autograd.grad(
        head_loss(x, weight, targets, softcap=15.0, reduction=reduction, chunk=8).sum(), (x, weight)
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(53, 15)}, "must be .* C"),
        ({"x": torch.zeros(16)}, "must be .* C"),
        ({"targets": torch.zeros(20, dtype=torch.int64)}, "one a row of x"),
        ({"targets": torch.zeros(21)}, "torch.int64"),
        ({"softcap": 0.0}, "above 0"),
        ({"softcap": -1.0}, "above 0"),
        ({"chunk": 0}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    x, weight, targets = inputs()
    given: dict[str, Any] = {"x": x, "weight": weight, "targets": targets, **change}
    with pytest.raises(ValueError, match=message):
        head_loss(**given)
