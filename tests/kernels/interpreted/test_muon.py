"""The symmetric product against fp64, and the orthogonalisation made of it."""

from types import ModuleType

import pytest
import torch
from accuracy import assert_accurate
from curtail_kernels import muon
from torch import Tensor

from nanochat.optim.muon import NORM_EPS, NORM_MARGIN, POLAR_EXPRESS, orthogonalize

SMALL = muon.Config(32, 32, 4, 1)


def compare(
    module: ModuleType, x: Tensor, *, added: bool = False, alpha: float = 1.0, beta: float = 0.0
) -> None:
    K, S, _ = x.shape
    addend = None
    if added:
        root = torch.randn(K, S, S + 3, generator=torch.Generator().manual_seed(S)).to(x.dtype)[:, :, :S]
        addend = root.clone().copy_((root + root.mT) / 2)
    out = torch.full((K, S, S + 5), torch.nan, dtype=x.dtype)
    view = out[:, :, :S]
    module.launch_symmetric_product(x, addend, view, alpha=alpha, beta=beta, config=SMALL)
    own = muon.reference_symmetric_product(x, addend, alpha, beta)
    exact = muon.reference_symmetric_product(
        x.double(), None if addend is None else addend.double(), alpha, beta
    )
    assert_accurate(view, own, exact, x.dtype)
    block = torch.arange(S) // SMALL.side
    mirrored = (view == view.mT) | (
        block[:, None] == block
    )  # a block on the diagonal is as the product gives it
    assert mirrored.all()
    assert out[:, :, S:].isnan().all()


def stack(K: int, S: int, R: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(K, S, R, generator=torch.Generator().manual_seed(S * R)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("S", "R"), [(1, 1), (5, 40), (32, 32), (33, 100), (64, 31), (97, 130)])
def test_the_product_is_as_exact_as_torch_and_its_blocks_are_mirrored_to_the_bit(S, R, dtype):
    compare(muon, stack(2, S, R, dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("S", [5, 64, 97])
def test_the_product_and_an_addend_are_too(S, dtype):
    compare(muon, stack(2, S, S, dtype), added=True, alpha=-2.5, beta=1.5)


def test_rows_may_lie_apart():
    compare(muon, stack(3, 40, 70)[1:, :, 3:50])


def test_two_runs_give_the_same_bits():
    x, outs = stack(1, 70, 70, torch.bfloat16), []
    for _ in range(2):
        outs.append(torch.full((1, 70, 70), torch.nan, dtype=x.dtype))
        muon.launch_symmetric_product(x, x, outs[-1], alpha=2.0, beta=3.0, config=SMALL)
    assert torch.equal(*outs)


def launched(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    out = torch.full((x.size(0), x.size(1), x.size(1)), torch.nan, dtype=x.dtype)
    muon.launch_symmetric_product(x, addend, out, alpha=alpha, beta=beta, config=SMALL)
    return out


def in_bf16(product: muon.Product) -> muon.Product:
    """The product as it is on a GPU, for x that is fp32 here."""

    def of(x: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
        low = None if addend is None else addend.bfloat16()
        return product(x.bfloat16(), low, alpha, beta).to(x.dtype)

    return of


def run(g: Tensor, product: muon.Product) -> Tensor:
    return muon.orthogonalize(g, POLAR_EXPRESS, norm_margin=NORM_MARGIN, norm_eps=NORM_EPS, product=product)


@pytest.mark.parametrize(("m", "n"), [(40, 40), (33, 70), (70, 33)])
def test_orthogonalisation_is_that_of_the_model(m, n):
    g = stack(2, m, n)
    torch.testing.assert_close(run(g, launched), orthogonalize(g), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("m", "n"), [(40, 40), (70, 33)])
def test_orthogonalisation_with_bf16_products_errs_no_more_than_the_plain_one(m, n):
    g = stack(2, m, n)
    exact = run(g.double(), muon.reference_symmetric_product)
    ours, plain = run(g, in_bf16(launched)), run(g, in_bf16(muon.reference_symmetric_product))
    assert_accurate(ours, plain, exact, torch.bfloat16)


def test_no_matrices_and_zeros_stay_what_they_are():
    assert launched(torch.zeros(0, 4, 4), None, 1.0, 0.0).shape == (0, 4, 4)
    assert not run(torch.zeros(2, 4, 6), launched).any()
