"""The operator of relu squared on a CPU."""

import torch
from curtail_kernels.relu2 import reference_relu2, relu2
from torch.library import opcheck


def drawn() -> torch.Tensor:
    return torch.randn(7, 12, generator=torch.Generator().manual_seed(1))


def test_value_and_gradient_are_torchs():
    for x in (drawn(), drawn().mT, drawn().bfloat16(), drawn()[:, ::2]):
        ours, plain = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
        got, want = relu2(ours), reference_relu2(plain)
        assert torch.equal(got, want)
        got.backward(x)
        want.backward(x)
        assert ours.grad is not None
        assert torch.equal(ours.grad, plain.grad)


def test_torch_accepts_the_operators():
    opcheck(torch.ops.curtail.relu2.default, (drawn().requires_grad_(),))
    opcheck(torch.ops.curtail.relu2.default, (drawn().mT,))
    opcheck(torch.ops.curtail.relu2_backward.default, (drawn(), drawn()))


def test_it_compiles_as_one_graph():
    x = drawn().requires_grad_()
    run = torch.compile(lambda x: relu2(x * 2).sum(), fullgraph=True, backend="aot_eager")
    (got,) = torch.autograd.grad(run(x), x)
    assert torch.equal(got, 8 * torch.relu(x.detach()))
