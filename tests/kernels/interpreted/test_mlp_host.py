"""What the MLP does on a GPU around its launches: which way is taken, and that both give the same MLP."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from accuracy import assert_accurate
from curtail_kernels import mlp, mlp_products
from curtail_kernels.mlp_products import IN_PRODUCT, Config
from curtail_kernels.mlp_relu2 import reference_squares
from torch import Tensor

HOPPER = (9, 0)


@pytest.fixture(autouse=True)
def on_hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of this kind in the words of torch; the launches are the interpreter's."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: HOPPER)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    properties = SimpleNamespace(multi_processor_count=2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    for product in ("squares", "slopes"):
        monkeypatch.setitem(mlp.TABLE, (product, HOPPER), Config(32, 64, 32, 4, 1, 1, False))


def drawn(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def both(x: Tensor, up: Tensor, down: Tensor, dout: Tensor, in_product: bool | None) -> tuple[Tensor, Tensor]:
    h = mlp.squares(x, up, in_product)
    return h, mlp.slopes(dout, down, h, in_product)


@pytest.mark.parametrize("in_product", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_both_ways_err_no_more_than_torch(in_product, dtype):
    x, up, down, dout = (drawn(*shape, dtype=dtype) for shape in ((70, 40), (72, 40), (48, 72), (70, 48)))
    h, dz = both(x, up, down, dout, in_product)
    z = (x @ up.mT).requires_grad_()
    (own,) = torch.autograd.grad(reference_squares(z) @ down.mT, z, dout)
    wide = (x.double() @ up.double().mT).requires_grad_()
    (exact,) = torch.autograd.grad(reference_squares(wide) @ down.double().mT, wide, dout.double())
    assert_accurate(h, reference_squares(z.detach()), reference_squares(wide.detach()), dtype)
    assert_accurate(dz, own, exact, dtype)


def test_what_was_not_measured_is_not_taken(monkeypatch):
    monkeypatch.setattr(mlp_products, "LEAST_ROWS", 70)
    given = drawn(70, 16), drawn(24, 16), drawn(8, 24), drawn(70, 8)
    in_product, apart = both(*given, True), both(*given, False)
    assert not torch.equal(in_product[0], apart[0])  # z is not rounded in the product: the ways can be told
    assert all(map(torch.equal, both(*given, None), apart))
    monkeypatch.setitem(IN_PRODUCT, ("squares", HOPPER), True)
    monkeypatch.setitem(IN_PRODUCT, ("slopes", HOPPER), True)
    assert all(map(torch.equal, both(*given, None), in_product))


def test_what_cannot_be_described_is_done_apart_and_is_refused_when_asked_for(monkeypatch):
    monkeypatch.setitem(IN_PRODUCT, ("squares", HOPPER), True)
    monkeypatch.setattr(mlp_products, "LEAST_ROWS", 70)
    x, up = drawn(70, 15), drawn(24, 15)
    assert torch.equal(mlp.squares(x, up, None), mlp.squares(x, up, False))
    with pytest.raises(ValueError, match="rows that begin at 16 bytes; leave in_product out"):
        mlp.squares(x, up, True)


@pytest.mark.parametrize("in_product", [None, False])
def test_no_rows_are_no_rows(in_product):
    h, dz = both(drawn(0, 16), drawn(24, 16), drawn(8, 24), drawn(0, 8), in_product)
    assert h.shape == dz.shape == (0, 24)
