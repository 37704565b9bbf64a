"""Bugs planted in copies of the attention kernels: the comparison that the tests use catches each."""

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import curtail_kernels.attention as original
import pytest
import torch
from attention_runs import Case, check, check_prologue, check_raw_forward, check_whole
from triton.runtime.errors import InterpreterError

NUMBER = count()
Check = Callable[[Any], None]

PLAIN = Case(T=70, kv_heads=2, group=2, D=64)
WINDOW = Case(T=160, window=40)
RAGGED = Case(B=2, T=100, lengths=(70, 100))
LATER = Case(T=70, before=66)


def attends(case: Case) -> Check:
    return lambda kernels: check(case, kernels)


def places(size: float = 1.0, group: int = 1) -> Check:
    case = Case(T=17, group=group, kv_heads=2, D=64, dtype=torch.float32)
    return lambda kernels: check_prologue(case, size=size, kernels=kernels)


def places_queries(case: Case) -> Check:
    return lambda kernels: check_raw_forward(case, kernels)


def whole(case: Case) -> Check:
    return lambda kernels: check_whole(case, kernels)


EDGE = "back <= window)"
SEEN = 's = tl.where(seen(back, window, WINDOWED), s, -float("inf"))'
LIVE = "live = tl.minimum(tl.load(lengths + batch), S)"
LEFT = "left = tl.maximum(first + BLOCK_M - 1 - window + BLOCK_N - 1, 0)"
RUNS = "runs_of_keys(start, shift, live, live_rows, window, BLOCK_M, BLOCK_N, WINDOWED)"
BUGS: dict[str, tuple[str, str, str, Check]] = {
    "forward: no causal mask": ("forward.py", SEEN, "s = s", attends(PLAIN)),
    "window one too narrow": ("tiles.py", EDGE, "back < window)", attends(WINDOW)),
    "window one too wide": ("tiles.py", EDGE, "back <= window + 1)", attends(WINDOW)),
    "a query does not see itself": ("tiles.py", "return back >= 0", "return back > 0", attends(PLAIN)),
    "tail not written": (
        "tiles.py",
        "mask=(start + local < end)[:, None])\n\n\n@",
        "mask=(start + local < end - 1)[:, None])\n\n\n@",
        attends(PLAIN),
    ),
    "tail written past the end": (
        "tiles.py",
        "mask=(start + local < end)[:, None])\n\n\n@",
        "mask=(start + local < end + 1)[:, None])\n\n\n@",
        attends(PLAIN),
    ),
    "load not masked": ("tiles.py", "        if MASKED:", "        if False:", attends(PLAIN)),
    "forward: online scale dropped": (
        "forward.py",
        "p = tl.exp2(s * scale - base[:, None])",
        "p = tl.exp2(s - base[:, None])",
        attends(PLAIN),
    ),
    "forward: bounded scale dropped": (
        "forward.py",
        "p = tl.exp2(s * scale)",
        "p = tl.exp2(s)",
        attends(replace(PLAIN, bounded=True)),
    ),
    "forward: group index swapped": (
        "forward.py",
        "head // group",
        "head % (tl.num_programs(1) // group)",
        attends(PLAIN),
    ),
    "forward: sum not shrunk": (
        "forward.py",
        "acc = acc * shrink[:, None]",
        "acc = acc * 1.0",
        attends(PLAIN),
    ),
    "forward: sum of what was not rounded": (
        "forward.py",
        "        p = rounded(p, q.dtype)\n        norm += tl.sum(p.to(tl.float32), 1)",
        "        norm += tl.sum(p, 1)\n        p = rounded(p, q.dtype)",
        attends(Case(T=1, group=2, bounded=True)),
    ),
    "forward: another conversion": (
        "tiles.py",
        "cvt.rn.bf16x2.f32 $0, $2, $1;",
        "cvt.rn.bf16x2.f32 $0, $1, $2;",
        attends(PLAIN),
    ),
    "forward: maximum missing in lse": (
        "forward.py",
        "else aside + tl.log2(norm)",
        "else tl.log2(norm)",
        attends(PLAIN),
    ),
    "interior begins behind the diagonal": (
        "tiles.py",
        "right = (first + 1) //",
        "right = (first + BLOCK_N) //",
        attends(PLAIN),
    ),
    "window's edge block skipped": (
        "tiles.py",
        "low = tl.maximum(first - window, 0) // BLOCK_N * BLOCK_N",
        "low = tl.maximum(first - window + BLOCK_N, 0) // BLOCK_N * BLOCK_N",
        attends(WINDOW),
    ),
    "window's edge not masked": (
        "tiles.py",
        LEFT,
        "left = tl.maximum(first - window, 0)",
        attends(WINDOW),
    ),
    "forward: lengths ignored": ("forward.py", LIVE, "live = S", attends(RAGGED)),
    "forward: queries taken for the first": ("forward.py", "shift = S - T", "shift = 0", attends(LATER)),
    "forward: nothing seen yet": (
        "forward.py",
        'tl.where(highest == -float("inf"), 0.0, highest) if MASKED else highest',
        "highest",
        attends(WINDOW),
    ),
    "dq: delta dropped": ("dq.py", "(dp - delta[:, None])", "dp", attends(PLAIN)),
    "dq: scale dropped": ("dq.py", "acc *= dq_scale", "acc *= 1.0", attends(PLAIN)),
    "dq: delta's tail not written": (
        "dq.py",
        "sums, mask=local < T)",
        "sums, mask=local < T - 1)",
        attends(PLAIN),
    ),
    "dq: group index swapped": (
        "dq.py",
        "head // group",
        "head % (tl.num_programs(1) // group)",
        attends(PLAIN),
    ),
    "dq: window's edge not masked": ("dq.py", RUNS, f"{RUNS}\n    left = low", attends(WINDOW)),
    "dkdv: last head of a group forgotten": (
        "dkdv.py",
        "(key_head + 1) * group):",
        "(key_head + 1) * group - 1):",
        attends(PLAIN),
    ),
    "dkdv: window's edge not masked": (
        "dkdv.py",
        "(start < left) | (start >= right)",
        "start < left",
        attends(WINDOW),
    ),
    "dkdv: diagonal masked too short": (
        "dkdv.py",
        "left = start + BLOCK_N - 1 - shift",
        "left = start - shift + 1",
        attends(replace(PLAIN, config=PLAIN.config._replace(block_n=128))),
    ),
    "dkdv: window's last queries skipped": (
        "dkdv.py",
        "start + BLOCK_N + window - shift",
        "start + window - shift",
        attends(WINDOW),
    ),
    "dkdv: scale dropped": ("dkdv.py", "dk_acc *= dk_scale", "dk_acc *= 1.0", attends(PLAIN)),
    "dkdv: lengths ignored": ("dkdv.py", LIVE, "live = S", attends(RAGGED)),
    "dkdv: delta's sign": ("dkdv.py", "sums = -tl.load", "sums = tl.load", attends(PLAIN)),
    "epilogue: turned the wrong way": (
        "tiles.py",
        "z1 * cos - z2 * sin, z1 * sin + z2 * cos",
        "z1 * cos + z2 * sin, z2 * cos - z1 * sin",
        whole(PLAIN),
    ),
    "epilogue: norm's second term dropped": (
        "tiles.py",
        "gain * dy - y * (mean / gain)[:, None]",
        "gain * dy",
        whole(PLAIN),
    ),
    "epilogue: 1 / rms of another head": ("tiles.py", "rows * heads + head,", "rows * heads,", whole(PLAIN)),
    "epilogue: gain dropped": ("tiles.py", "gain * dy - y", "dy - y", whole(PLAIN)),
    "prologue: eps dropped": ("tiles.py", "/ D + eps)", "/ D)", places(size=1e-3)),
    "prologue: mean over a half": ("tiles.py", "/ D + eps)", "/ (D // 2) + eps)", places()),
    "prologue: gain dropped": ("tiles.py", "by = (r * gain)", "by = (r * 1.0)", places()),
    "prologue: heads of k misplaced": ("prologue.py", "head - q_heads, k_heads", "head, k_heads", places()),
    "prologue: rotation's sign": (
        "tiles.py",
        "z1 = x1 * cos + x2 * sin",
        "z1 = x1 * cos - x2 * sin",
        places(),
    ),
    "prologue: 1 / rms of k not written": (
        "prologue.py",
        "k, k_out, k_rms, c",
        "k, k_out, q_rms, c",
        places(group=2),
    ),
    "raw forward: halves swapped": (
        "forward.py",
        "joined(y1, y2,",
        "joined(y2, y1,",
        places_queries(PLAIN),
    ),
    "raw forward: positions of the first block": (
        "forward.py",
        "load_tables(cos, sin, start, T,",
        "load_tables(cos, sin, 0, T,",
        places_queries(PLAIN),
    ),
    "raw forward: not rounded": (
        "forward.py",
        ".to(placed.dtype.element_ty)",
        "",
        places_queries(PLAIN),
    ),
    "raw forward: 1 / rms of k's heads": (
        "forward.py",
        "batch, head, tl.num_programs(1), start, T, gain",
        "batch, head, tl.num_programs(1) // group, start, T, gain",
        places_queries(PLAIN),
    ),
}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SimpleNamespace]]:
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def copy(file: str | None = None, old: str = "", new: str = "") -> SimpleNamespace:
        name = f"planted_attention_{next(NUMBER)}"
        names.append(name)
        folder = tmp_path / name
        shutil.copytree(Path(original.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for source in folder.glob("*.py"):
            text = source.read_text().replace(original.__name__, name)
            if source.name == file:
                assert old in text, (
                    f"{old!r} is not in {file}; a planted bug must follow the source: change it"
                )
                text = text.replace(old, new)
            source.write_text(text)
        importlib.invalidate_caches()
        parts = ("forward", "dq", "dkdv", "prologue", "operands")
        return SimpleNamespace(**{part: importlib.import_module(f"{name}.{part}") for part in parts})

    yield copy
    for module in [module for module in sys.modules if module.split(".")[0] in names]:
        del sys.modules[module]


def test_a_copy_without_a_bug_passes(planted):
    kernels = planted()
    for right in (attends(PLAIN), attends(WINDOW), attends(RAGGED), attends(LATER), whole(PLAIN), places()):
        right(kernels)
    attends(replace(PLAIN, bounded=True))(kernels)
    places(size=1e-3)(kernels)
    places(group=2)(kernels)
    places_queries(PLAIN)(kernels)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug, planted):
    file, old, new, caught_by = BUGS[bug]
    with pytest.raises((AssertionError, InterpreterError, IndexError)):
        caught_by(planted(file, old, new))
