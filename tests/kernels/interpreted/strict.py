"""Triton's interpreter made right for bf16, and stricter than a GPU about memory.

As it comes, the interpreter keeps bf16 as 16-bit integers: a product multiplies bit patterns, and a cast from
fp32 cuts off the low half. It loads 0 into masked lanes, where a GPU leaves what is in the register. After
`install()`:

- a cast to bf16 rounds to nearest, ties to even; one from bf16 is exact;
- `tl.dot` of bf16 multiplies exactly and sums in fp32; of fp32 with the precision tf32, the default, it first
  cuts the operands to TF32 as the matrix units do, so that a missing `input_precision="ieee"` shows;
- arithmetic, comparison and reduction of bf16 raise `RawBfloat16`: a kernel must say `.to(tl.float32)`;
- of assembly, the conversions of two numbers at once are known;
- masked lanes of a load without `other` are NaN, or a byte pattern in integers that is no fit index;
- loads and stores are checked as `strict_memory` says.

Floating-point warnings of numpy are off during a launch: NaN in lanes that nobody uses is no fault.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import triton.language as tl
from strict_memory import Memory, tensors_of
from triton.runtime import interpreter

POISON = 0x5A
"""Each byte of a masked integer lane."""
CONVERSIONS = {
    "cvt.rn.bf16x2.f32 $0, $2, $1;": tl.bfloat16,
    "cvt.rn.f16x2.f32 $0, $2, $1;": tl.float16,
}
"""To nearest, ties to even, the first of two numbers into the low half."""
_FLOATS = {tl.float16: np.nan, tl.bfloat16: 0x7FC0, tl.float32: np.nan, tl.float64: np.nan}

Handle = interpreter.TensorHandle
Builder = interpreter.InterpreterBuilder


class RawBfloat16(TypeError):
    """Arithmetic on bf16, which the interpreter would do on bit patterns."""


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """fp32 -> the bits of bf16, to nearest, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FC0), rounded).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The bits of bf16 -> fp32, exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """fp32 with ten bits of mantissa, as the matrix units read it."""
    return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def install() -> None:
    """Mend the interpreter of this process; once is enough, again does nothing."""
    if getattr(Builder, "is_strict", False):
        return
    Builder.is_strict = True
    _install_casts()
    _install_assembly()
    _install_arithmetic()
    _install_memory()


def _is_raw(handle: Any) -> bool:
    return getattr(getattr(handle, "dtype", None), "scalar", None) == tl.bfloat16


def _refuse(operation: str, *handles: Any) -> None:
    if any(map(_is_raw, handles)):
        raise RawBfloat16(f"{operation} of bf16; say .to(tl.float32) first")


def _install_casts() -> None:
    plain, plain_rounding = Builder.cast_impl, Builder.create_fp_to_fp

    def cast(self: Any, source: Handle, to: tl.dtype) -> Handle:
        before, after = source.dtype.scalar, to.scalar
        if before == after:
            return Handle(source.data, after)
        if before == tl.bfloat16:
            return cast(self, Handle(from_bfloat16(source.data), tl.float32), to)
        if after == tl.bfloat16:
            return Handle(to_bfloat16(cast(self, source, tl.float32).data), tl.bfloat16)
        return plain(self, source, to)

    def rounding(self: Any, source: Handle, to: tl.dtype, mode: Any) -> Handle:
        nearest = mode is None or mode == interpreter._ir.ROUNDING_MODE.RTNE
        ours = {source.dtype.scalar, to.scalar} <= set(_FLOATS)
        return cast(self, source, to) if nearest and ours else plain_rounding(self, source, to, mode)

    Builder.cast_impl, Builder.create_fp_to_fp = cast, rounding


def _install_assembly() -> None:
    def assembly(
        self: Any, text: str, _constraints: str, values: list[Handle], _types: Any, _is_pure: bool, _pack: int
    ) -> SimpleNamespace:
        if text not in CONVERSIONS:
            raise NotImplementedError(f"{text!r} is none of {', '.join(map(repr, CONVERSIONS))}")
        found = self.cast_impl(values[0], CONVERSIONS[text])
        return SimpleNamespace(get_result=lambda _: found)

    Builder.create_inline_asm = assembly


def _install_arithmetic() -> None:
    plain_dot = Builder.create_dot

    def dot(self: Any, a: Handle, b: Handle, d: Handle, precision: Any, *rest: Any) -> Handle:
        def operand(x: Handle) -> Handle:
            if _is_raw(x):
                return Handle(from_bfloat16(x.data), tl.float32)
            if x.dtype.scalar == tl.float32 and precision == interpreter._ir.INPUT_PRECISION.TF32:
                return Handle(to_tf32(x.data), tl.float32)
            return x

        _refuse("an accumulator", d)
        return plain_dot(self, operand(a), operand(b), d, precision, *rest)

    Builder.create_dot = dot
    for name, count in (("binary_op", 2), ("unary_op", 1), ("create_fma", 3), ("create_clampf", 3)):
        _guard(name, count)
    apply = interpreter.ReduceScanOpInterface.apply

    def reduce(self: Any, value: Any) -> Any:
        _refuse("a reduction", *(value if isinstance(value, tuple) else (value,)))
        return apply(self, value)

    interpreter.ReduceScanOpInterface.apply = reduce


def _guard(name: str, count: int) -> None:
    """Let a method of the builder refuse bf16 in its first `count` arguments."""
    plain = getattr(Builder, name)

    def guarded(self: Any, *arguments: Any) -> Any:
        _refuse(name.removeprefix("create_"), *arguments[:count])
        return plain(self, *arguments)

    setattr(Builder, name, guarded)


def _install_memory() -> None:
    load, store = Builder.create_masked_load, Builder.create_masked_store
    add, swap = Builder.create_atomic_rmw, Builder.create_atomic_cas
    plain_arguments, plain_call = interpreter.GridExecutor._init_args_hst, interpreter.GridExecutor.__call__
    launch: list[Memory] = []  # one while a launch runs, else none

    def program(self: Any) -> int:
        (x, y, z), (_, ny, nz) = self.grid_idx, self.grid_dim
        return (x * ny + y) * nz + z

    def lanes(pointers: Handle, mask: Any) -> tuple[np.ndarray, int]:
        width = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        addresses, live = np.broadcast_arrays(pointers.data, True if mask is None else mask.data)
        return addresses[live.astype(bool)].astype(np.uint64), width

    def masked_load(
        self: Any, pointers: Handle, mask: Handle, other: Any, *rest: Any, **named: Any
    ) -> Handle:
        launch[-1].read(*lanes(pointers, mask), program(self))
        if other is None and not np.all(mask.data):
            other = _nothing(pointers)
        return load(self, pointers, mask, other, *rest, **named)

    def masked_store(
        self: Any, pointers: Handle, value: Handle, mask: Handle, *rest: Any, **named: Any
    ) -> Any:
        launch[-1].write(*lanes(pointers, mask), program(self))
        return store(self, pointers, value, mask, *rest, **named)

    def atomic(self: Any, operation: Any, pointers: Handle, value: Handle, mask: Any, *rest: Any) -> Handle:
        _refuse("an atomic operation", value)
        launch[-1].touch(*lanes(pointers, mask))
        return add(self, operation, pointers, value, mask, *rest)

    def compare_and_swap(self: Any, pointers: Handle, *rest: Any) -> Handle:
        launch[-1].touch(*lanes(pointers, None))
        return swap(self, pointers, *rest)

    def arguments(self: Any, positional: Any, named: dict[str, Any]) -> Any:
        positional, named = plain_arguments(self, positional, named)
        pairs = [*zip(self.arg_names, positional, strict=False), *named.items()]
        launch[-1] = Memory([found for name, value in pairs for found in tensors_of(name, value)])
        return positional, named

    def call(self: Any, *positional: Any, **named: Any) -> Any:
        launch.append(Memory(()))
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                return plain_call(self, *positional, **named)
        finally:
            launch.pop()

    Builder.create_masked_load, Builder.create_masked_store = masked_load, masked_store
    Builder.create_atomic_rmw, Builder.create_atomic_cas = atomic, compare_and_swap
    interpreter.GridExecutor._init_args_hst, interpreter.GridExecutor.__call__ = arguments, call


def _nothing(pointers: Handle) -> Handle:
    """What masked lanes hold that were not told what to hold."""
    kind = pointers.get_element_ty()
    dtype = interpreter._get_np_dtype(kind)
    if kind in _FLOATS:
        return Handle(np.full(pointers.data.shape, _FLOATS[kind], dtype), kind)
    poison = np.frombuffer(bytes([POISON]) * dtype.itemsize, dtype)
    return Handle(np.full(pointers.data.shape, poison, dtype), kind)
