"""What the operations do on a GPU: the host's part of it, by the interpreter."""

from contextlib import nullcontext

import pytest
import torch
from attention_runs import tables
from curtail_kernels.attention import cuda, operands
from curtail_kernels.attention.reference import (
    reference_attention,
    reference_attention_backward,
    reference_rotary_norm,
    reference_rotary_norm_backward,
)
from torch import Tensor

T, H, HKV, D = 40, 2, 1, 64
PLAIN = {"scale": 0.1, "window": 9, "lengths": None}


@pytest.fixture(params=[(9, 0), (8, 6)], ids=["hopper", "another"], autouse=True)
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: request.param)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    return request.param


def tensors(dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = ((1, T, H, D), (1, T, HKV, D), (1, T, HKV, D), (1, T, H, D))
    return [torch.randn(shape, generator=g).to(dtype) for shape in shapes]


def near(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other.to(one.dtype), atol=3e-2, rtol=3e-2)


@pytest.mark.parametrize("bound", [float("inf"), 60.0])
def test_attention_and_its_gradients_are_the_references(bound):
    q, k, v, do = tensors()
    o, lse = cuda.forward(q, k, v, **PLAIN, bound=bound)
    exact_o, exact_lse = reference_attention(q, k, v, **PLAIN)
    near(o, exact_o)
    near(lse, exact_lse)
    exact = reference_attention_backward(do, q, k, v, exact_o, exact_lse, **PLAIN)
    for one, other in zip(cuda.backward(do, q, k, v, o, lse, **PLAIN), exact, strict=True):
        near(one, other)


@pytest.mark.parametrize("in_forward", [None, False, True])
def test_the_whole_path_and_its_gradients_are_the_references(in_forward):
    raw_q, raw_k, v, do = tensors()
    cos, sin = tables(T, D)
    scaled = {**PLAIN, "scale": D**-0.5}
    o, lse, q, k, q_rms, k_rms = cuda.placed_forward(
        raw_q, raw_k, v, cos, sin, gain=1.2, eps=1e-6, window=9, in_forward=in_forward
    )
    for x, y, r in ((raw_q, q, q_rms), (raw_k, k, k_rms)):
        exact_y, exact_r = reference_rotary_norm(x, cos, sin, gain=1.2)
        near(y, exact_y)
        near(r, exact_r)
    near(o, reference_attention(q, k, v, **scaled)[0])
    placing = operands.Placing(q_rms, k_rms, cos, sin, 1.2)
    got = cuda.backward(do, q, k, v, o, lse, **scaled, placing=placing)
    dq, dk, dv = reference_attention_backward(do, q, k, v, o, lse, **scaled)
    near(got[0], reference_rotary_norm_backward(dq, q, q_rms, cos, sin, gain=1.2))
    near(got[1], reference_rotary_norm_backward(dk, k, k_rms, cos, sin, gain=1.2))
    near(got[2], dv)


@pytest.mark.parametrize("in_forward", [None, False, True])
def test_who_places_the_queries_is_the_tables_choice_or_the_callers(in_forward, capability, monkeypatch):
    chosen = []
    launch = cuda.launch_forward
    monkeypatch.setattr(
        cuda, "launch_forward", lambda *a, **k: (chosen.append(k["unplaced"] is not None), launch(*a, **k))
    )
    monkeypatch.setattr(cuda, "PLACES_QUERIES", {((9, 0), D): True})
    q, k, v, _ = tensors()
    cuda.placed_forward(q, k, v, *tables(T, D), gain=1.2, eps=1e-6, window=None, in_forward=in_forward)
    assert chosen == [capability == (9, 0) if in_forward is None else in_forward]


@pytest.mark.parametrize("kind", ["expanded gradient", "odd rows", "last dimension strided"])
def test_strides_that_the_copy_engine_cannot_read_are_no_obstacle(kind):
    q, k, v, do = tensors()
    if kind == "expanded gradient":
        do = torch.ones((), dtype=q.dtype).expand_as(q)
    elif kind == "odd rows":
        k = torch.nn.functional.pad(k, (0, 1))[..., :-1]
    else:
        v = torch.stack((v, v), dim=-1)[..., 0]
    o, lse = cuda.forward(q, k, v, **PLAIN, bound=float("inf"))
    near(o, reference_attention(q, k, v, **PLAIN)[0])
    exact = reference_attention_backward(do, q, k, v, o, lse, **PLAIN)
    for one, other in zip(cuda.backward(do, q, k, v, o, lse, **PLAIN), exact, strict=True):
        near(one, other)


def test_no_rows_give_no_rows():
    q, k, v, do = (x[:0] for x in tensors())
    o, lse = cuda.forward(q, k, v, **PLAIN, bound=1.0)
    assert o.shape == q.shape
    assert [x.shape for x in cuda.backward(do, q, k, v, o, lse, **PLAIN)] == [q.shape, k.shape, v.shape]
    cos, sin = tables(T, D)
    placed = cuda.placed_forward(q, k, v, cos, sin, gain=1.0, eps=0.0, window=None)
    assert [x.shape for x in placed[:1] + placed[2:4]] == [q.shape, q.shape, k.shape]


def test_no_queries_leave_the_keys_no_gradient():
    q, k, v, do = tensors()
    q, do = q[:, :0], do[:, :0]
    o, lse = cuda.forward(q, k, v, **PLAIN, bound=1.0)
    _, dk, dv = cuda.backward(do, q, k, v, o, lse, **PLAIN)
    assert not dk.any()
    assert not dv.any()


def test_what_no_kernel_is_for_is_refused():
    q, k, v, _ = tensors()
    with pytest.raises(ValueError, match="head dim 32"):
        cuda.forward(q[..., :32], k[..., :32], v[..., :32], **PLAIN, bound=1.0)
    with pytest.raises(ValueError, match="float64"):
        cuda.forward(q.double(), k.double(), v.double(), **PLAIN, bound=1.0)


def test_descriptors_are_taken_on_hopper_alone_and_not_for_ragged_rows(capability):
    q, k, v, _ = tensors()
    lengths = torch.tensor([T], dtype=torch.int32)
    assert cuda._path("forward", capability, None, q, k, v) == ("tma" if capability == (9, 0) else "pointers")
    assert cuda._path("forward", capability, lengths, q, k, v) == "pointers"
    assert cuda._path("dq", capability, None, q.float(), k.float(), v.float()) == "pointers"
