"""The strict interpreter: what it computes in bf16, and what it refuses."""

from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl
from strict import install
from triton.runtime import interpreter
from triton.runtime.errors import InterpreterError
from triton.tools.tensor_descriptor import TensorDescriptor

NAN = float("nan")


@triton.jit
def _cast(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, tl.load(x + at).to(out.dtype.element_ty))


@triton.jit
def _convert_by(x, out, N: tl.constexpr, text: tl.constexpr, to: tl.constexpr):
    at = tl.arange(0, N)
    value = tl.load(x + at)
    tl.store(out + at, tl.inline_asm_elementwise(text, "=r,r,r", [value], dtype=to, is_pure=True, pack=2))


@triton.jit
def _twice(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    value = tl.load(x + at)
    tl.store(out + at, value + value)


@triton.jit
def _compare(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    value = tl.load(x + at)
    tl.store(out + at, (value >= value).to(tl.int32))


@triton.jit
def _negate(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, -tl.load(x + at))


@triton.jit
def _sum(x, out, N: tl.constexpr):
    tl.store(out, tl.sum(tl.load(x + tl.arange(0, N)), axis=0))


@triton.jit
def _multiply_add(x, out, N: tl.constexpr):
    at = tl.arange(0, N)
    value = tl.load(x + at)
    tl.store(out + at, tl.fma(value, value, value))


@triton.jit
def _dot(a, b, out, N: tl.constexpr, precision: tl.constexpr):
    at = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at), input_precision=precision))


@triton.jit
def _load_first(x, out, n, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, tl.load(x + at, mask=at < n))


@triton.jit
def _load_to(x, out, n, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(out + at, tl.load(x + at, mask=at < n, other=0.0), mask=at < n)


@triton.jit
def _store_to(x, n, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(x + at, at.to(tl.float32), mask=at < n)


@triton.jit
def _count(x):
    tl.atomic_add(x + tl.program_id(0) * 0, 1.0)


@triton.jit
def _count_at(x, i):
    tl.atomic_add(x + i, 1.0)


@triton.jit
def _store_to_one(x):
    tl.store(x, 1.0)


@triton.jit
def _next_to_own(x):
    i = tl.program_id(0)
    tl.store(x + i, tl.load(x + i + 1) + 1.0)


@triton.jit
def _before_own(x):
    i = tl.program_id(0)
    tl.store(x + i + 1, tl.load(x + i) + 1.0)


@triton.jit
def _own(x):
    i = tl.program_id(0)
    tl.store(x + i, tl.load(x + i) + 1.0)
    tl.store(x + i, tl.load(x + i) + 1.0)


@triton.jit
def _tile(descriptor, out, at, M: tl.constexpr, N: tl.constexpr):
    tile = descriptor.load([at, 0])
    tl.store(out + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :], tile)


@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.float64])
def test_a_cast_to_bf16_rounds_as_torch_does(source: torch.dtype) -> None:
    bits = torch.arange(2**16, dtype=torch.int32) << 16
    near = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=torch.int32)
    x = (bits[::37, None] + near).view(torch.float32).to(source).flatten()
    x = torch.cat([x, torch.tensor([NAN, float("inf"), -float("inf"), 0.0, -0.0, 1e-45], dtype=source)])
    x = torch.nn.functional.pad(x, (0, 2**14 - x.numel()))
    out = torch.full_like(x, NAN, dtype=torch.bfloat16)
    _cast[(1,)](x, out, N=x.numel())
    torch.testing.assert_close(out, x.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("target", [torch.float32, torch.float16, torch.int32])
def test_a_cast_from_bf16_is_exact(target: torch.dtype) -> None:
    x = torch.tensor([1.0, -2.5, 3.0, 1024.0, 0.0, -7.0, 96.0, 1.5]).to(torch.bfloat16)
    out = torch.zeros(8, dtype=target)
    _cast[(1,)](x, out, N=8)
    assert torch.equal(out, x.to(target))


@pytest.mark.parametrize(("name", "dtype"), [("bf16x2", torch.bfloat16), ("f16x2", torch.float16)])
def test_two_numbers_are_converted_at_once_as_torch_does_one_by_one(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(256, generator=torch.Generator().manual_seed(1)) * 1e3
    x[:4] = torch.tensor([NAN, float("inf"), 0.0, 1.00390625])
    out = torch.full_like(x, 7.0, dtype=dtype)
    to = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}[dtype]
    _convert_by[(1,)](x, out, N=256, text=f"cvt.rn.{name}.f32 $0, $2, $1;", to=to)
    torch.testing.assert_close(out, x.to(dtype), rtol=0, atol=0, equal_nan=True)


def test_assembly_that_is_not_known_raises() -> None:
    x, out = torch.ones(8), torch.zeros(8, dtype=torch.bfloat16)
    with pytest.raises(InterpreterError, match="is none of 'cvt"):
        _convert_by[(1,)](x, out, N=8, text="cvt.rz.bf16x2.f32 $0, $2, $1;", to=tl.bfloat16)


def test_a_dot_of_bf16_multiplies_exactly() -> None:
    a, b = (torch.randn(16, 16, generator=torch.Generator().manual_seed(i)).bfloat16() for i in (1, 2))
    out = torch.full((16, 16), NAN)
    _dot[(1,)](a, b, out, N=16, precision="tf32")
    torch.testing.assert_close(out.double(), a.double() @ b.double(), rtol=1e-6, atol=1e-6)


def test_a_dot_of_fp32_is_exact_only_where_ieee_is_asked_for() -> None:
    a, b = (torch.randn(16, 16, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    worst = {}
    for precision in ("ieee", "tf32"):
        out = torch.full((16, 16), NAN)
        _dot[(1,)](a, b, out, N=16, precision=precision)
        worst[precision] = (out.double() - a.double() @ b.double()).abs().max().item()
    assert worst["ieee"] < 1e-5 < 1e-3 < worst["tf32"] < 0.1


@pytest.mark.parametrize("kernel", [_twice, _compare, _negate, _sum, _multiply_add])
def test_arithmetic_on_bf16_raises(kernel: Callable[..., object]) -> None:
    x = torch.ones(8, dtype=torch.bfloat16)
    out = torch.zeros(8, dtype=torch.int32 if kernel is _compare else torch.bfloat16)
    with pytest.raises(InterpreterError, match=r"say .to\(tl.float32\)"):
        kernel[(1,)](x, out, N=8)
    kernel[(1,)](x.float(), out if kernel is _compare else out.float(), N=8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masked_lanes_without_other_are_nan(dtype: torch.dtype) -> None:
    out = torch.zeros(8, dtype=dtype)
    _load_first[(1,)](torch.ones(5, dtype=dtype), out, 5, N=8)
    assert out[:5].eq(1).all()
    assert out[5:].isnan().all()


@pytest.mark.parametrize(("dtype", "poison"), [(torch.int8, 0x5A), (torch.int32, 0x5A5A5A5A)])
def test_masked_integers_without_other_are_no_fit_index(dtype: torch.dtype, poison: int) -> None:
    out = torch.zeros(8, dtype=dtype)
    _load_first[(1,)](torch.ones(5, dtype=dtype), out, 5, N=8)
    assert out.tolist() == [1] * 5 + [poison] * 3


def test_a_lane_outside_every_tensor_raises_and_one_inside_does_not() -> None:
    x, out = torch.ones(16)[:5], torch.full((16,), NAN)[:5]
    _load_to[(1,)](x, out, 5, N=8)
    assert out.eq(1).all()
    with pytest.raises(InterpreterError, match="load of 1 lanes outside every tensor"):
        _load_to[(1,)](x, out, 6, N=8)
    with pytest.raises(InterpreterError, match="store of 2 lanes outside every tensor"):
        _store_to[(1,)](x, 7, N=8)
    with pytest.raises(InterpreterError, match="atomic operation of 1 lanes outside"):
        _count_at[(1,)](x, 5)


def test_a_lane_in_the_gap_of_a_view_raises() -> None:
    view = torch.zeros(4, 8)[:, :5]  # rows of five, three apart
    _store_to[(1,)](view, 5, N=8)
    with pytest.raises(InterpreterError, match="store of 1 lanes outside"):
        _store_to[(1,)](view, 6, N=8)
    with pytest.raises(InterpreterError, match="store of 6 lanes outside"):
        _store_to[(1,)](view, 16, N=16)


def test_an_expanded_view_is_inside() -> None:
    out = torch.zeros(8)
    _load_to[(1,)](torch.ones(3, 1, 8).expand(3, 5, 8), out, 8, N=8)
    assert out.eq(1).all()


def test_two_programs_that_store_to_one_place_race() -> None:
    _store_to_one[(1,)](torch.zeros(1))
    with pytest.raises(InterpreterError, match="program 1 stores to what program 0 of this launch stored"):
        _store_to_one[(2,)](torch.zeros(1))


def test_a_program_that_loads_what_another_stores_races_in_either_order() -> None:
    with pytest.raises(InterpreterError, match="program 1 stores to what program 0 of this launch loaded"):
        _next_to_own[(4,)](torch.zeros(8))
    with pytest.raises(InterpreterError, match="program 1 loads what program 0 of this launch stored"):
        _before_own[(4,)](torch.zeros(8))


def test_a_program_may_load_and_store_its_own_place_and_another_launch_may_too() -> None:
    x = torch.zeros(4)
    for _ in range(2):
        _own[(4,)](x)
    assert x.eq(4).all()


def test_atomic_operations_do_not_race() -> None:
    x = torch.zeros(1)
    _count[(5,)](x)
    assert x.item() == 5


def test_a_descriptor_pads_with_zeros_and_is_held_to_its_tensor() -> None:
    x, out = torch.ones(6, 8, dtype=torch.bfloat16), torch.full((4, 8), NAN, dtype=torch.bfloat16)
    _tile[(1,)](TensorDescriptor(x, [6, 8], [8, 1], [4, 8]), out, 4, M=4, N=8)
    assert out[:2].eq(1).all()
    assert out[2:].eq(0).all()
    with pytest.raises(InterpreterError, match="load of 16 lanes outside"):
        _tile[(1,)](TensorDescriptor(x, [9, 8], [8, 1], [4, 8]), out, 4, M=4, N=8)


def test_to_install_twice_changes_nothing() -> None:
    before = interpreter.InterpreterBuilder.cast_impl
    install()
    assert interpreter.InterpreterBuilder.cast_impl is before
