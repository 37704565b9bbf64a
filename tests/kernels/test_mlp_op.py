"""The operator of the MLP on a CPU."""

import pytest
import torch
from curtail_kernels.mlp import mlp, reference_mlp
from torch.library import opcheck

N, C, F, E = 7, 12, 20, 5


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def leaves(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [x.to(dtype).requires_grad_() for x in (drawn(2, N, C), drawn(F, C), drawn(E, F))]


APART = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02}


@pytest.mark.parametrize(("dtype", "apart"), APART.items())
def test_value_and_gradients_are_torchs(dtype, apart):
    found = []
    for way in (mlp, reference_mlp):
        given = leaves(dtype)
        out = way(*given)
        out.backward(drawn(2, N, E).to(dtype))
        found.append([out, *(x.grad for x in given)])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=apart, atol=apart * plain.abs().max().item())


def test_nothing_but_the_input_and_the_squares_is_kept():
    kept = []

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    given = leaves()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        mlp(*given)
    own = {x.data_ptr() for x in given}
    assert sorted(tuple(x.shape) for x in kept if x.data_ptr() not in own) == [(2 * N, F)]


def test_torch_accepts_the_operators():
    x, up, down = (x.detach() for x in leaves())
    x = x.flatten(0, 1)
    given = [each.clone().requires_grad_() for each in (x, up, down)]
    opcheck(torch.ops.curtail.mlp.default, (*given, None))
    opcheck(torch.ops.curtail.mlp.default, (x[:, ::2], up[:, ::2], down, False))
    h = torch.relu(x @ up.mT).square()
    opcheck(torch.ops.curtail.mlp_backward.default, (x @ up.mT @ down.mT, x, h, up, down, None))


def test_it_compiles_as_one_graph():
    given = leaves()
    run = torch.compile(lambda x, up, down: mlp(x * 2, up, down).sum(), fullgraph=True, backend="aot_eager")
    compiled = torch.autograd.grad(run(*given), given)
    plain = torch.autograd.grad(reference_mlp(given[0] * 2, *given[1:]).sum(), given)
    for got, want in zip(compiled, plain, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_inside_autocast_it_is_in_the_type_of_the_region_and_gradients_are_the_parameters():
    given = leaves()
    with torch.autocast("cpu", torch.bfloat16):
        out = mlp(*given)
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out.float().sum(), given)
    assert [grad.dtype for grad in grads] == [torch.float32] * 3
    plain = torch.autograd.grad(reference_mlp(*given).sum(), given)
    for got, want in zip(grads, plain, strict=True):
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.05 * want.abs().max().item())


def test_no_rows_are_no_rows():
    x, up, down = (x.detach() for x in leaves())
    assert mlp(x[:, :0], up, down).shape == (2, 0, E)
    assert mlp(x[0, 0], up, down).shape == (E,)


@pytest.mark.parametrize(
    "shapes", [((N, C), (F, C + 1), (E, F)), ((N, C), (F, C), (F, E)), ((N, C), (C,), (E, F))]
)
def test_what_does_not_fit_is_said(shapes):
    with pytest.raises(ValueError, match=r"they must be \[\.\.\., C\], \[F, C\] and \[E, F\]"):
        mlp(*(torch.zeros(shape) for shape in shapes))
