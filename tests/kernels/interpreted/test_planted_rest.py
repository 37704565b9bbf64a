"""Faults planted in the kernels around attention: each is caught by what the other tests compare."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest
import test_codec
import test_head
import test_mlp_products
import test_mlp_relu2
import test_muon
import torch
from curtail_kernels import codec_kernels, head_rows, mlp_products, mlp_relu2, muon
from triton.runtime.errors import InterpreterError

NUMBERS = itertools.count()

HEAD = {
    "the first pass counts the padding": (
        "total += tl.where(column < V, tl.exp(u), 0.0)",
        "total += tl.where(column < width, tl.exp(u), 0.0)",
    ),
    "the padding is let into the running maximum": (
        'u = tl.where(column < V, u, float("-inf"))',
        "u = u",
    ),
    "the padding keeps what it held": (
        "tl.where(counts & (column < V), dz, 0.0)",
        "tl.where(counts, dz, 0.0)",
    ),
    "the tail is not written": (
        "tl.store(z_row + column, dz.to(logits.dtype.element_ty), mask=column < width)",
        "tl.store(z_row + column, dz.to(logits.dtype.element_ty), mask=column < V // BLOCK * BLOCK)",
    ),
    "the slope of the cap is dropped": ("* slope\n", "* 1.0\n"),
    "the target is not subtracted": ("tl.where(column == target, 1.0, 0.0)", "0.0"),
    "the target is one too far": ("column == target", "column == target + 1"),
    "the old sum is not rescaled": ("total = total * tl.exp(most - base)", "total = total"),
    "the lanes' maxima are not brought together": (
        "tl.sum(total * tl.exp(most - top), 0)",
        "tl.sum(total, 0)",
    ),
    "an ignored row has a gradient": ("counts & (column < V), dz", "column < V, dz"),
    "an ignored row has a loss": (
        "tl.where(counts, L - u_target, 0.0)",
        "L - tl.where(counts, u_target, 0.0)",
    ),
    "the loss is of the logit without its cap": ("L - u_target", "L - z_target"),
    "the row's weight is dropped": ("tl.load(scales + row) if SCALED else 1.0", "1.0"),
    "the row's weight is another row's": ("tl.load(scales + row)", "tl.load(scales)"),
    "rows lie as wide as the vocabulary": ("logits.stride(0),", "V,"),
    "the sign of the cap is lost": ("t = tl.where(v < 0, -t, t)", "t = t"),
}

RELU2 = {
    "not squared": ("(positive * positive)", "(positive)"),
    "a negative number counts": ("tl.where(value <= 0, 0.0, value)", "value"),
    "a NaN is lost": ("tl.where(value <= 0, 0.0, value)", "tl.where(value > 0, value, 0.0)"),
    "the slope is half": ("2 * tl.sqrt(squared) * above", "tl.sqrt(squared) * above"),
    "the slope is of the squares": ("tl.sqrt(squared)", "squared"),
    "the last program of forward is not launched": (
        "triton.cdiv(z.numel(), block)",
        "max(z.numel() // block, 1)",
    ),
    "the last program of backward is not launched": (
        "triton.cdiv(h.numel(), block)",
        "max(h.numel() // block, 1)",
    ),
}

PRODUCTS = {
    "not squared": ("value = positive * positive", "value = positive"),
    "a negative number counts": ("tl.where(value <= 0, 0.0, value)", "value"),
    "the slope is half": ("2 * tl.sqrt(squared) * value", "tl.sqrt(squared) * value"),
    "the halves are swapped": ("low, high = total", "high, low = total"),
    "the halves are mixed": (
        "total.reshape(BLOCK_M, 2, half).permute(0, 2, 1).split()",
        "total.reshape(BLOCK_M, half, 2).split()",
    ),
    "the second half is not written": ("    _finish(high, h, out, row, column + half, SLOPES)\n", ""),
    "the last terms are left out": ("range(0, K, DEPTH)", "range(0, K - DEPTH + 1, DEPTH)"),
    "the tile begins where the last one ended": (
        "total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)\n        for k",
        "if tile == tl.program_id(0):\n"
        "            total = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)\n        for k",
    ),
    "the last band is as high as the others": ("tl.minimum(rows - band * GROUP, GROUP)", "GROUP"),
    "bands forget those before": ("(band * GROUP + place % height)", "(place % height)"),
    "programs take the first tiles alone": (
        "tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=FLAT)",
        "tl.range(tl.program_id(0), tl.num_programs(0), tl.num_programs(0), flatten=FLAT)",
    ),
    "the last column of tiles is left out": (
        "columns = tl.cdiv(N, BLOCK_N)",
        "columns = tl.cdiv(N, 2 * BLOCK_N)",
    ),
    "the precision is TF32": ("PRECISION=precision(a.dtype)", 'PRECISION="tf32"'),
}

CODEC = {
    "halves go up": ("near = (near + 12582912.0) - 12582912.0", "near = tl.floor(near + 0.5)"),
    "the scale is cut, not rounded": ("largest + 0x7FFF + ((largest >> 16) & 1)", "largest"),
    "the scale's halves go up": ("0x7FFF + ((largest >> 16) & 1)", "0x8000"),
    "the largest is of the signed numbers": ("& 0x7FFFFFFF  # as", "| 0  # as"),
    "nothing is clamped": ("tl.minimum(tl.maximum(near, -most), most)", "near"),
    "numbers are divided by the scale before rounding to bf16": (
        "near = tl.div_rn(x, tl.broadcast_to(step, [ROWS, BLOCK]))",
        "near = x * (1.0 / step)",
    ),
    "a block of zeros is divided by 0": ("tl.where(scale == 0, 1.0, scale)", "scale"),
    "the halves of a byte are swapped": (
        "(low & 0xF) | ((high & 0xF) << 4)",
        "(high & 0xF) | ((low & 0xF) << 4)",
    ),
    "the sign runs into the other half": ("(low & 0xF) | ", "low | "),
    "the sign is not given back": ("(level ^ sign) - sign", "level"),
    "the residual is dropped": ("if CARRIED:", "if False:"),
    "the rest forgets the scale": ("x - near * scale", "x - near"),
    "the scale of the last, short block is not written": (
        "mask=row * BLOCK < numbers)\n\n    scale",
        "mask=(row + 1) * BLOCK <= numbers)\n\n    scale",
    ),
    "a NaN is no NaN any more": ("tl.where(largest > 0x7F800000, 0xFFFF, rounded)", "rounded"),
    "the last byte is not written": ("pair, mask=byte < packed", "pair, mask=byte < packed - 1"),
}

MUON = {
    "the mirror image is not written": ("if i != j:", "if False:"),
    "the mirror image is not transposed": ("tl.trans(block)", "block"),
    "the last terms are left out": ("range(0, R, DEPTH)", "range(0, R - DEPTH + 1, DEPTH)"),
    "the terms are not masked": (
        "mask=(rows < S)[:, None] & more[None, :], other=0.0",
        "mask=(rows < S)[:, None] & (depth < DEPTH)[None, :], other=0.0",
    ),
    "the factor of the product is dropped": ("total *= alpha", "total *= 1.0"),
    "the factor of the addend is dropped": ("beta * plus", "plus"),
    "the addend is the first matrix's": ("addend + matrix * addend_matrix + at", "addend + at"),
    "all matrices are the first": ("x += matrix * x_matrix", "x += matrix * 0"),
    "the addend's rows are as long as it is wide": ("[:, None] * addend_row", "[:, None] * (addend_row - 1)"),
    "the triangle is one row short": (
        "(blocks * (blocks + 1) // 2, K)",
        "(blocks * (blocks - 1) // 2 or 1, K)",
    ),
    "the precision is TF32": (', input_precision="ieee"', ""),
}


def planted(module: ModuleType, fault: tuple[str, str], folder: Path) -> ModuleType:
    """The module with the fault, from a file of its own: a kernel is read from its source."""
    assert module.__file__ is not None
    source, (right, wrong) = Path(module.__file__).read_text(), fault
    assert source.count(right) >= 1, f"{right!r} is not in {module.__name__}"
    path = folder / "planted.py"
    path.write_text(source.replace(right, wrong).replace('"curtail::', f'"planted{next(NUMBERS)}::'))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def caught():
    """A comparison fails, or the watch over the memory raises; any other error is a fault of the fault."""

    def is_watch(error: Exception) -> bool:
        return isinstance(error, AssertionError) or any(
            name in str(error) for name in ("OutOfBounds", "Race")
        )

    return pytest.raises((AssertionError, InterpreterError), check=is_watch)


def compare_head(module: ModuleType) -> None:
    test_head.compare_rows(module, 53, torch.float32, 15.0, spread=20.0, scaled=True)
    test_head.compare_rows(module, 257, torch.float32, 0.0, spread=60.0)


def compare_relu2(module: ModuleType) -> None:
    z, _ = test_mlp_relu2.inputs(1000, torch.bfloat16)
    z[::100] = torch.nan
    test_mlp_relu2.compare_squares(module, z, block=256)
    test_mlp_relu2.compare_slopes(module, 1000, torch.bfloat16, block=256)


def compare_products(module: ModuleType) -> None:
    for compare in (test_mlp_products.compare_squares, test_mlp_products.compare_slopes):
        compare(module, (330, 136, 40), torch.float32)


def compare_codec(module: ModuleType) -> None:
    for name in test_codec.KINDS:
        flat = test_codec.drawn(1031)
        flat[:128] = 0
        flat[700] = torch.nan
        flat.view(torch.int32)[900] = 0x7FFFFFFF
        test_codec.compare(module, flat, name, test_codec.drawn(1032)[1:].contiguous())
        test_codec.compare(module, test_codec.drawn(301, 1e-40), name)
        test_codec.compare(module, test_codec.drawn(512, 2e-38), name)
        test_codec.compare(module, test_codec.half_scales(name), name)
        for scale in (1.1875, 1.6484375):
            test_codec.compare(module, test_codec.halves(name, scale), name)


def compare_muon(module: ModuleType) -> None:
    test_muon.compare(module, test_muon.stack(2, 70, 40))
    test_muon.compare(module, test_muon.stack(2, 40, 40), added=True, alpha=-2.5, beta=1.5)


@pytest.mark.parametrize("fault", HEAD)
def test_a_fault_of_the_head_is_caught(fault, tmp_path):
    with caught():
        compare_head(planted(head_rows, HEAD[fault], tmp_path))


@pytest.mark.parametrize("fault", RELU2)
def test_a_fault_of_relu2_is_caught(fault, tmp_path):
    with caught():
        compare_relu2(planted(mlp_relu2, RELU2[fault], tmp_path))


@pytest.mark.parametrize("fault", PRODUCTS)
def test_a_fault_of_the_products_is_caught(fault, tmp_path):
    with caught():
        compare_products(planted(mlp_products, PRODUCTS[fault], tmp_path))


@pytest.mark.parametrize("fault", CODEC)
def test_a_fault_of_the_codec_is_caught(fault, tmp_path):
    with caught():
        compare_codec(planted(codec_kernels, CODEC[fault], tmp_path))


@pytest.mark.parametrize("fault", MUON)
def test_a_fault_of_the_symmetric_product_is_caught(fault, tmp_path):
    with caught():
        compare_muon(planted(muon, MUON[fault], tmp_path))


@pytest.mark.parametrize(
    ("module", "compare"),
    [
        (head_rows, compare_head),
        (mlp_relu2, compare_relu2),
        (mlp_products, compare_products),
        (codec_kernels, compare_codec),
        (muon, compare_muon),
    ],
)
def test_what_catches_them_passes_without_a_fault(module, compare, tmp_path):
    compare(planted(module, ("import triton\n", "import triton\n"), tmp_path))
