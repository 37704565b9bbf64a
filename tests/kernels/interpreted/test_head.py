"""The head's rows and chunks against fp64: losses, gradients of x and of the weight."""

from functools import partial
from types import ModuleType

import pytest
import torch
from accuracy import assert_accurate
from curtail_kernels import head_rows
from curtail_kernels.head import reference_head_loss
from curtail_kernels.head_chunks import Head, gradient_by_chunks, losses_by_chunks
from torch import Tensor

BLOCK = 128
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
CAPS = (15.0, 100.0, 0.0)
"""Bounded, capped but not bounded, not capped."""


def own_rows(z: Tensor, targets: Tensor, softcap: float, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Losses, and the gradient of their weighted sum, by torch from logits of any dtype."""
    leaf = z.clone().requires_grad_()
    wide = leaf if z.dtype == torch.float64 else leaf.float()
    wide = softcap * torch.tanh(wide / softcap) if softcap else wide
    losses = torch.nn.functional.cross_entropy(wide, targets, ignore_index=-1, reduction="none")
    (losses * scales.to(losses.dtype)).sum().backward()
    assert leaf.grad is not None
    return losses.detach(), leaf.grad


def compare_rows(
    module: ModuleType,
    V: int,
    dtype: torch.dtype,
    softcap: float,
    *,
    spread: float = 3.0,
    scaled: bool = False,
    rows: int = 3,
) -> None:
    generator = torch.Generator().manual_seed(V)
    z = (spread * torch.randn(rows, V, generator=generator)).to(dtype)
    targets = torch.randint(V, (rows,), generator=generator)
    targets[rows // 2] = -1
    scales = torch.rand(rows, generator=generator) if scaled else None
    width = -(-V // 16) * 16 + 16
    logits = torch.full((rows, width), torch.nan, dtype=dtype)
    logits[:, :V] = z
    losses = torch.full((rows,), torch.nan)
    run = partial(module.launch_head_rows, softcap=softcap, ignore_index=-1, block=BLOCK)

    run(logits, targets, losses, V, gradient=False)
    assert torch.equal(logits[:, :V], z)
    first = losses.clone()
    losses.fill_(torch.nan)
    run(logits, targets, losses, V, gradient=True, scales=scales)

    weights = torch.ones(rows) if scales is None else scales
    own_losses, own_dz = own_rows(z, targets, softcap, weights)
    exact_losses, exact_dz = own_rows(z.double(), targets, softcap, weights)
    assert torch.equal(first, losses)
    assert_accurate(losses, own_losses, exact_losses, dtype)
    assert_accurate(logits[:, :V], own_dz, exact_dz, dtype, as_torch=spread > 1e3)
    assert not logits[:, V:].any()
    assert losses[rows // 2] == 0
    assert not logits[rows // 2].any()


@pytest.mark.parametrize("softcap", CAPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("V", [2, 53, 128, 257])
def test_rows_are_as_exact_as_torch_and_their_padding_is_nothing(V, dtype, softcap):
    compare_rows(head_rows, V, dtype, softcap)


@pytest.mark.parametrize("softcap", CAPS)
def test_a_weight_a_row_scales_its_gradient_alone(softcap):
    compare_rows(head_rows, 131, torch.float32, softcap, scaled=True)


@pytest.mark.parametrize("softcap", CAPS)
@pytest.mark.parametrize("spread", [0.0, 1e-3, 60.0, 1e4])
def test_rows_of_extreme_logits_are_as_exact(softcap, spread):
    compare_rows(head_rows, 131, torch.float32, softcap, spread=spread)


def test_a_vocabulary_of_one_has_no_loss_and_no_gradient():
    for softcap in CAPS:
        logits, losses = torch.full((3, 16), 2.5), torch.full((3,), torch.nan)
        head_rows.launch_head_rows(
            logits,
            torch.zeros(3, dtype=torch.int64),
            losses,
            1,
            softcap=softcap,
            ignore_index=-1,
            gradient=True,
            block=BLOCK,
        )
        assert losses.abs().max() < 1e-6
        assert logits.abs().max() < 1e-6


@pytest.mark.parametrize("target", [-2, 53, 60, 1 << 40])
def test_a_target_out_of_the_vocabulary_makes_its_loss_nan_and_reads_nothing(target):
    for run in (partial(head_rows.launch_head_rows, block=BLOCK), head_rows.reference_head_rows):
        losses = torch.zeros(2)
        run(
            torch.randn(2, 64),
            torch.tensor([target, 3]),
            losses,
            53,
            softcap=15.0,
            ignore_index=-1,
            gradient=True,
        )
        assert losses.isnan().tolist() == [True, False]


def test_an_ignore_index_inside_the_vocabulary_is_ignored():
    logits, losses = torch.randn(3, 64), torch.full((3,), torch.nan)
    head_rows.launch_head_rows(
        logits,
        torch.tensor([7, 3, 7]),
        losses,
        53,
        softcap=15.0,
        ignore_index=7,
        gradient=True,
        block=BLOCK,
    )
    assert (losses == 0).tolist() == [True, False, True]
    assert logits.any(dim=1).tolist() == [False, True, False]


def test_the_reference_of_the_rows_agrees():
    generator = torch.Generator().manual_seed(3)
    z, targets = torch.randn(6, 64, generator=generator), torch.tensor([1, -1, 52, 0, 9, -1])
    results = []
    for run in (partial(head_rows.launch_head_rows, block=BLOCK), head_rows.reference_head_rows):
        for softcap in CAPS:
            logits, losses = z.clone(), torch.full((6,), torch.nan)
            run(
                logits,
                targets,
                losses,
                53,
                softcap=softcap,
                ignore_index=-1,
                gradient=True,
                scales=torch.arange(6.0),
            )
            results.append((losses, logits))
    for ours, plain in zip(results[:3], results[3:], strict=True):
        torch.testing.assert_close(ours, plain, rtol=2e-6, atol=4e-6)


def compare_chunks(
    module: ModuleType, dtype: torch.dtype, N: int, V: int, targets: Tensor, *, strided: bool = False
) -> None:
    generator = torch.Generator().manual_seed(N)
    x = torch.randn(N, 48 if strided else 24, generator=generator).to(dtype)[:, :24]
    weight = torch.randn(V, 24, generator=generator)
    head = Head(x, weight, targets, 15.0, -1, 8)
    rows = partial(module.launch_head_rows, block=BLOCK)
    losses, dx, dweight = gradient_by_chunks(head, rows)
    again = gradient_by_chunks(head, rows)
    assert all(torch.equal(a, b) for a, b in zip((losses, dx, dweight), again, strict=True))
    assert torch.equal(losses_by_chunks(head, rows), losses)

    def plain(of: torch.dtype, rounded: Tensor) -> tuple[Tensor, ...]:
        leaves = x.to(of).requires_grad_(), rounded.to(of).requires_grad_()
        found = reference_head_loss(*leaves, targets, softcap=15.0, reduction="none")
        return (found.detach(), *torch.autograd.grad(found.sum(), leaves))

    own, exact = plain(dtype, weight), plain(torch.float64, weight.to(dtype))
    for got, torchs, right in zip((losses, dx, dweight), own, exact, strict=True):
        assert_accurate(got, torchs, right, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "V"), [(1, 53), (8, 131), (21, 53)])
def test_chunks_give_the_gradients_of_the_whole(N, V, dtype):
    targets = torch.arange(N) % V
    targets[1::3] = -1
    compare_chunks(head_rows, dtype, N, V, targets)


def test_chunks_of_a_strided_x_give_the_same():
    compare_chunks(head_rows, torch.bfloat16, 13, 53, torch.arange(13), strided=True)


def test_where_all_targets_are_ignored_all_is_zero():
    targets = torch.full((11,), -1)
    head = Head(torch.randn(11, 8), torch.randn(37, 8), targets, 15.0, -1, 4)
    for result in gradient_by_chunks(head, partial(head_rows.launch_head_rows, block=BLOCK)):
        assert not result.any()
