"""Attention's operations on CPU, where they are the plain reference: registration, gradients, errors."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from curtail_kernels.attention.op import attention, rotary_norm_attention
from curtail_kernels.attention.reference import reference_attention, reference_rotary_norm
from curtail_kernels.own import Place, plain, rotate
from torch import Tensor

T, H, HKV, D = 9, 4, 2, 8


def tensors(dtype=torch.float64, B=2, S=T, seed=0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = ((B, T, H, D), (B, S, HKV, D), (B, S, HKV, D))
    q, k, v = (torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def tables(dtype=torch.float64) -> tuple[Tensor, Tensor]:
    angles = torch.outer(torch.arange(T), 2.0 ** -torch.arange(D // 2))[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def gradients(y: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return torch.autograd.grad(y, of, seed.to(y.dtype))


@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_torchs_own(window, dtype):
    q, k, v = tensors(dtype, S=T + 4)
    torch.testing.assert_close(
        attention(q, k, v, window=window), plain(q, k, v, window), atol=2e-2, rtol=2e-2
    )


@pytest.mark.parametrize("window", [None, 0, 3])
def test_the_whole_path_is_torchs_own(window):
    q, k, v = tensors(torch.float32)
    cos, sin = tables(torch.float32)
    place = Place(cos, sin, 1.2, 1e-6)
    wanted = plain(place(q), place(k), v, window)
    torch.testing.assert_close(rotary_norm_attention(q, k, v, cos, sin, gain=1.2, window=window), wanted)


@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("lengths", [None, [T, 5], [0, 1]])
def test_gradients_are_those_of_autograd_through_the_reference(window, lengths):
    q, k, v = tensors()
    ragged = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    got = gradients(attention(q, k, v, window=window, lengths=ragged, scale=0.3), q, k, v)
    y, _ = reference_attention(q, k, v, scale=0.3, window=window, lengths=ragged)
    for one, other in zip(got, gradients(y, q, k, v), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("window", [None, 2])
def test_gradients_of_the_whole_path_are_those_of_autograd_through_rms_norm(window):
    q, k, v = tensors()
    cos, sin = tables()

    def placed(x: Tensor) -> Tensor:
        return F.rms_norm(rotate(x, cos, sin), (D,), eps=1e-3) * 1.2

    got = gradients(rotary_norm_attention(q, k, v, cos, sin, gain=1.2, eps=1e-3, window=window), q, k, v)
    y, _ = reference_attention(placed(q), placed(k), v, window=window)
    for one, other in zip(got, gradients(y, q, k, v), strict=True):
        torch.testing.assert_close(one, other)


def test_the_placed_are_what_the_norm_and_the_rotation_give():
    x, _, _ = tensors()
    cos, sin = tables()
    y, r = reference_rotary_norm(x, cos, sin, gain=-0.5, eps=1e-2)
    z = rotate(x, cos, sin)
    torch.testing.assert_close(y, F.rms_norm(z, (D,), eps=1e-2) * -0.5)
    torch.testing.assert_close(r, (z.square().mean(-1) + 1e-2).rsqrt())


def test_padding_is_not_seen_whatever_lies_there_and_gives_zeros():
    q, k, v = (x.detach().clone() for x in tensors())
    lengths = torch.tensor([5, 0], dtype=torch.int32)
    for x in (q, k, v):
        x[0, 5:] = float("nan")
        x[1] = float("nan")
        x.requires_grad_()
    y = attention(q, k, v, lengths=lengths)
    whole = attention(q[:1, :5], k[:1, :5], v[:1, :5])
    torch.testing.assert_close(y[:1, :5], whole)
    assert not y[0, 5:].any()
    assert not y[1].any()
    for gradient in gradients(y, q, k, v):
        assert gradient.isfinite().all()
        assert not gradient[0, 5:].any()
        assert not gradient[1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [None, [3, 7]])
def test_opcheck_passes_for_attention(dtype, lengths):
    q, k, v = tensors(dtype)
    ragged = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    op = torch.ops.curtail.attention
    torch.library.opcheck(op, (q, k, v, 0.3, 4, ragged, float("inf")), atol=1e-2, rtol=1e-2)
    strided = (q.transpose(1, 2).contiguous().transpose(1, 2), k, v[..., ::1])
    torch.library.opcheck(op, (*strided, 0.3, -1, ragged, 10.0), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck_passes_for_the_whole_path(dtype):
    q, k, v = tensors(dtype)
    arguments = (q, k, v, *tables(torch.float32), 1.2, 1e-6, 4, None)
    torch.library.opcheck(torch.ops.curtail.rotary_norm_attention, arguments, atol=2e-2, rtol=2e-2)


def test_opcheck_passes_for_the_backwards():
    q, k, v = (x.detach() for x in tensors(torch.float32))
    o, lse = reference_attention(q, k, v)
    torch.library.opcheck(torch.ops.curtail.attention_backward, (o, q, k, v, o, lse, 0.3, 2, None))
    norms = [torch.ones(x.shape[:-1]) for x in (q, k)]
    arguments = (o, q, k, v, o, lse, *norms, *tables(torch.float32), 1.2, 2)
    torch.library.opcheck(torch.ops.curtail.rotary_norm_attention_backward, arguments)


def test_compile_sees_no_graph_break_and_gives_the_same():
    q, k, v = tensors(torch.float32)
    cos, sin = tables(torch.float32)

    def both(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y = rotary_norm_attention(q * 2, k, v, cos, sin, gain=1.2, window=3)
        return attention(y, k, v, window=2) + y

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    wanted, got = both(q, k, v), compiled(q, k, v)
    torch.testing.assert_close(got, wanted)
    for one, other in zip(gradients(got, q, k, v), gradients(wanted, q, k, v), strict=True):
        torch.testing.assert_close(one, other)


def test_only_what_the_backward_needs_is_kept():
    q, k, v = tensors(torch.float32)
    cos, sin = tables(torch.float32)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        rotary_norm_attention(q, k, v, cos, sin)
    shapes = sorted(tuple(x.shape) for x in kept)
    B = q.size(0)
    per_head = [(B, H, T), (B, T, H), (B, T, HKV)]
    assert shapes == sorted([(B, T, H, D)] * 2 + [(B, T, HKV, D)] * 2 + per_head + [(T, 1, D // 2)] * 2)


def test_what_nobody_asked_a_gradient_for_costs_none():
    q, k, v = tensors(torch.float32)
    with torch.no_grad():
        assert not attention(q, k, v).requires_grad


def test_importing_the_operations_imports_no_triton():
    code = "import sys, curtail_kernels.attention.op; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.ones(2, T, H)}, r"must be \[B, T, H, D\]"),
        ({"q": torch.ones(3, T, H, D)}, "first and the last dimension"),
        ({"q": torch.ones(2, T, 3, D)}, "multiple"),
        ({"q": torch.ones(2, T + 1, H, D)}, "pass all keys"),
        ({"v": torch.ones(2, T, HKV, D + 1)}, "like k"),
        ({"v": torch.ones(2, T, HKV, D, dtype=torch.bfloat16)}, "one dtype"),
        ({"scale": 0.0}, "positive and finite"),
        ({"window": -1}, "0 or more"),
        ({"bound": float("nan")}, "0 or more"),
        ({"lengths": torch.ones(3, dtype=torch.int32)}, r"int32 \[2\]"),
        ({"lengths": torch.ones(2, dtype=torch.int64)}, r"int32 \[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    q, k, v = tensors(torch.float32)
    with pytest.raises(ValueError, match=message):
        attention(**{"q": q, "k": k, "v": v, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cos": torch.ones(T + 1, 1, D // 2)}, "cut the tables"),
        ({"sin": torch.ones(T, D // 2)}, "cut the tables"),
        ({"gain": 0.0}, "not 0"),
        ({"eps": -1.0}, "0 or more"),
        ({"q": torch.ones(2, T - 1, H, D)}, "place them first"),
    ],
)
def test_what_cannot_be_placed_is_refused(change, message):
    q, k, v = tensors(torch.float32)
    cos, sin = tables(torch.float32)
    with pytest.raises(ValueError, match=message):
        rotary_norm_attention(**{"q": q, "k": k, "v": v, "cos": cos, "sin": sin, **change})
