"""The symmetric product's operator on a CPU, and the orthogonalisation beside the model's."""

import pytest
import torch
from curtail_kernels.muon import HOPPER, OTHERS, config_for, orthogonalize, symmetric_product
from torch.library import opcheck

from nanochat.optim import muon

SETTINGS = {"norm_margin": muon.NORM_MARGIN, "norm_eps": muon.NORM_EPS}


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 8, 20), (3, 20, 8), (0, 4, 4)])
def test_on_a_cpu_it_is_the_models_to_rounding(shape):
    g = drawn(*shape)
    got = orthogonalize(g, muon.POLAR_EXPRESS, **SETTINGS)
    torch.testing.assert_close(got, muon.orthogonalize(g), rtol=1e-5, atol=1e-6)


def test_the_dtype_is_kept():
    got = orthogonalize(drawn(2, 6, 4).bfloat16(), muon.POLAR_EXPRESS, **SETTINGS)
    assert got.dtype == torch.bfloat16


def test_torch_accepts_the_operator():
    x = drawn(2, 5, 9)
    opcheck(torch.ops.curtail.symmetric_product.default, (x, None, 1.5, 0.0))
    opcheck(torch.ops.curtail.symmetric_product.default, (x, x @ x.mT, 1.5, -0.5))
    opcheck(torch.ops.curtail.symmetric_product.default, (x.mT, None, 1.5, 0.0))


def test_it_compiles_as_one_graph():
    g = drawn(2, 9, 5)
    run = torch.compile(
        lambda g: orthogonalize(g, muon.POLAR_EXPRESS, **SETTINGS), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(run(g), muon.orthogonalize(g), rtol=1e-5, atol=1e-6)


def test_large_blocks_are_for_aligned_16_bit_matrices_on_hopper():
    x = drawn(2, 32, 48).bfloat16()
    assert config_for(x, (9, 0)) is HOPPER
    assert config_for(x, (8, 0)) is OTHERS
    assert config_for(x.float(), (9, 0)) is OTHERS
    assert config_for(x[:, :31], (9, 0)) is OTHERS
    assert config_for(x[:, :, :40], (9, 0)) is OTHERS


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="a stack of matrices"):
        symmetric_product(drawn(3, 3))
    with pytest.raises(ValueError, match="2, 3, 3"):
        symmetric_product(drawn(2, 3, 4), drawn(2, 3, 4))
