"""The products with relu squared at their end against fp64."""

from types import ModuleType

import pytest
import torch
from accuracy import assert_accurate
from curtail_kernels import mlp_products
from curtail_kernels.mlp_products import IN_PRODUCT, TABLE, Config, is_in_product
from curtail_kernels.mlp_relu2 import reference_squares
from torch import Tensor

SMALL = Config(32, 64, 32, 4, 1, 1, False)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((1, 8, 8), (32, 64, 32), (33, 72, 40), (300, 40, 24), (70, 200, 96))
"""M, N, K: within one tile, just one, tails everywhere, more than one band of rows, several columns."""


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def nothing_yet(M: int, N: int, dtype: torch.dtype) -> Tensor:
    """[M, N] of NaN between columns that nobody may write."""
    return torch.full((M, N + 16), torch.nan, dtype=dtype)[:, 8:-8]


def whole(x: Tensor) -> Tensor:
    """What `nothing_yet` is a view of."""
    return torch.as_strided(x, (x.size(0), x.size(1) + 16), x.stride(), x.storage_offset() - 8)


def compare_squares(
    module: ModuleType, shape: tuple[int, int, int], dtype: torch.dtype, processors: int = 3
) -> None:
    M, N, K = shape
    x, up, h = drawn(M, K, dtype=dtype), drawn(N, K, dtype=dtype), nothing_yet(M, N, dtype)
    module.launch_squares_product(x, up, h, config=SMALL, processors=processors)
    exact = reference_squares(x.double() @ up.double().mT)
    assert_accurate(h, reference_squares(x @ up.mT), exact, dtype)
    assert whole(h).isnan().sum() == 16 * M


def compare_slopes(
    module: ModuleType, shape: tuple[int, int, int], dtype: torch.dtype, processors: int = 3
) -> None:
    M, N, K = shape
    dout, down, dz = drawn(M, K, dtype=dtype), drawn(K, N, dtype=dtype), nothing_yet(M, N, dtype)
    z = drawn(M, N, dtype=dtype)
    h = reference_squares(z)
    module.launch_slopes_product(dout, down, h, dz, config=SMALL, processors=processors)
    own = 2 * torch.relu(z) * (dout @ down)
    exact = 2 * torch.relu(z.double()) * (dout.double() @ down.double())
    assert_accurate(dz, own, exact, dtype)
    assert whole(dz).isnan().sum() == 16 * M


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_squares_err_no_more_than_torchs(shape, dtype):
    compare_squares(mlp_products, shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_slopes_err_no_more_than_torchs(shape, dtype):
    compare_slopes(mlp_products, shape, dtype)


@pytest.mark.parametrize("processors", [1, 2, 100])
def test_how_many_programs_share_the_tiles_changes_no_bit(processors):
    found = []
    for programs in (3, processors):
        h = torch.full((300, 200), torch.nan, dtype=torch.bfloat16)
        x, up = drawn(300, 40, dtype=h.dtype), drawn(200, 40, dtype=h.dtype)
        mlp_products.launch_squares_product(x, up, h, config=SMALL, processors=programs)
        found.append(h)
    assert torch.equal(*found)


@pytest.mark.parametrize("product", ["squares", "slopes"])
def test_what_is_no_number_stays_none_and_spoils_its_row_alone(product):
    x, other = drawn(40, 32, dtype=torch.float32), drawn(64, 32, dtype=torch.float32)
    x[3, 5], out = torch.nan, torch.zeros(40, 64)
    if product == "squares":
        mlp_products.launch_squares_product(x, other, out, config=SMALL, processors=2)
    else:
        h = torch.ones(40, 64)
        mlp_products.launch_slopes_product(x, other.mT.contiguous(), h, out, config=SMALL, processors=2)
    assert out[3].isnan().all()
    assert not out[torch.arange(40) != 3].isnan().any()


def test_the_table_says_where_and_only_large_products_are_taken(monkeypatch):
    x, up = torch.zeros(4096, 64, dtype=torch.bfloat16), torch.zeros(256, 64, dtype=torch.bfloat16)
    assert IN_PRODUCT == {}
    assert not is_in_product("squares", None, (9, 0), x, up)
    monkeypatch.setitem(IN_PRODUCT, ("squares", (9, 0)), True)
    assert is_in_product("squares", None, (9, 0), x, up)
    assert not is_in_product("slopes", None, (9, 0), x, up)
    assert not is_in_product("squares", False, (9, 0), x, up)
    assert not is_in_product("squares", None, (9, 0), x[:4095], up)
    assert not is_in_product("squares", None, (9, 0), x.float(), up.float())
    assert not is_in_product("squares", None, (8, 0), x, up)


def test_what_was_asked_for_and_cannot_be_is_said():
    x, up = torch.zeros(16, 64, dtype=torch.bfloat16), torch.zeros(256, 64, dtype=torch.bfloat16)
    assert is_in_product("squares", True, (9, 0), x, up)
    with pytest.raises(ValueError, match=r"compute capability \(8, 0\); it must be one of \[\(9, 0\)\]"):
        is_in_product("squares", True, (8, 0), x, up)
    with pytest.raises(ValueError, match=r"64, 63.*16 bytes; leave in_product out"):
        is_in_product("squares", True, (9, 0), torch.zeros(64, 63, dtype=torch.bfloat16), up)
    assert {capability for _, capability in TABLE} == {(9, 0)}
