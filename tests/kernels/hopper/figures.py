"""What a compiled kernel tells of itself: registers, stack, shared memory, instructions that matter."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton

SHARED_AT_MOST = 232_448
"""Bytes of shared memory that one program may have on Hopper; more is no error of the compiler."""

_COUNTED = Path(__file__).read_bytes()
"""What was kept by another version of this file may lack a figure."""
_BIN = Path(triton.__file__).parent / "backends/nvidia/bin"
_OPCODE = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", re.MULTILINE)
_DOT_16_BIT = re.compile(r"tt\.dot .*xb?f16>.*->")
_DESCRIPTOR_LOAD = re.compile(r"descriptor_load")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one launch."""

    label: str
    kernel: str
    num_warps: int
    num_stages: int
    registers: int
    """Per thread."""
    stack: int
    """Bytes per thread."""
    shared: int
    """Bytes per program."""
    spills: int
    """Instructions that load or store local memory."""
    hgmma: int
    """Products by Hopper's matrix units."""
    hmma: int
    """Products by those of the chips before it."""
    tma_loads: int
    """Loads of a tile by the bulk copy engine."""
    conversions: int
    """Of one number each, by the unit that exponentiates too; of two at once there are others."""
    wants_hgmma: bool
    """Whether the source multiplies 16-bit tiles."""
    wants_tma: bool
    """Whether the source loads by descriptor."""


def figures(label: str, compiled: Any, cache: Path) -> Figures:
    """Read a compiled kernel.

    Args:
        label: What the launch is called.
        compiled: triton.compiler.CompiledKernel for sm_90.
        cache: A directory; what was once disassembled is found there by the hash of its code.
    """
    source = compiled.asm["ttir"]
    return Figures(
        label=label,
        kernel=compiled.metadata.name,
        num_warps=compiled.metadata.num_warps,
        num_stages=compiled.metadata.num_stages,
        shared=compiled.metadata.shared,
        wants_hgmma=_DOT_16_BIT.search(source) is not None,
        wants_tma=_DESCRIPTOR_LOAD.search(source) is not None,
        **_of_code(compiled.asm["cubin"], cache),
    )


def broken(one: Figures) -> list[str]:
    """What of a launch is not fit for Hopper; empty if all is."""
    found = [
        (one.stack > 0, f"a stack of {one.stack} bytes"),
        (one.spills > 0, f"{one.spills} instructions on local memory"),
        (one.shared > SHARED_AT_MOST, f"{one.shared} bytes of shared memory, more than {SHARED_AT_MOST}"),
        (one.wants_hgmma and not one.hgmma, "16-bit products, but no HGMMA"),
        (one.wants_hgmma and one.hmma > 0, f"{one.hmma} HMMA"),
        (one.wants_hgmma and one.conversions > 0, f"{one.conversions} conversions of one number"),
        (one.wants_tma and not one.tma_loads, "descriptors, but no UTMALDG"),
        ("tma" in one.label.split() and not one.wants_tma, "the TMA path, but no descriptor"),
    ]
    return [what for is_so, what in found if is_so]


def _of_code(code: bytes, cache: Path) -> dict[str, int]:
    kept = cache / f"{hashlib.sha256(code + _COUNTED).hexdigest()}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    with tempfile.TemporaryDirectory() as directory:
        cubin = Path(directory) / "kernel.cubin"
        cubin.write_bytes(code)
        usage = _output("cuobjdump", "--dump-resource-usage", str(cubin))
        counts = count_opcodes(_output("nvdisasm", "--print-code", str(cubin)))
    registers, stack = (int(re.findall(rf"{what}:(\d+)", usage)[-1]) for what in ("REG", "STACK"))
    found = {
        "registers": registers,
        "stack": stack,
        "spills": counts.get("LDL", 0) + counts.get("STL", 0),
        "hgmma": counts.get("HGMMA", 0),
        "hmma": counts.get("HMMA", 0),
        "tma_loads": counts.get("UTMALDG", 0),
        "conversions": counts.get("F2F", 0),
    }
    cache.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkstemp(dir=cache)[1])
    part.write_text(json.dumps(found))
    part.rename(kept)
    return found


def count_opcodes(listing: str) -> dict[str, int]:
    """How often each instruction stands in nvdisasm's listing, by its name up to the first dot."""
    counts: dict[str, int] = {}
    for name in _OPCODE.findall(listing):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _output(tool: str, *arguments: str) -> str:
    return subprocess.run(
        [_BIN / tool, *arguments], check=True, capture_output=True, text=True, timeout=120
    ).stdout


def as_json(found: list[Figures]) -> str:
    """A list of figures as text."""
    return json.dumps([asdict(one) for one in found])


def from_json(text: str) -> list[Figures]:
    """What `as_json` wrote."""
    return [Figures(**one) for one in json.loads(text)]
