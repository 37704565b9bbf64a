"""Every shipped launch compiled for Hopper by each Triton that must be able to: figures, and a table of them.

    python tests/kernels/hopper/tritons.py [--table | --record]

Says what is not fit for Hopper and fails if anything is; with `--table` prints registers and shared memory as
Markdown instead, with `--record` writes the figures to `record.json`: where the kernels, and what compiles
them, are those of the record, their figures are taken from it.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from figures import Figures, as_json, broken, from_json

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RECORD = HERE / "record.json"
OLDER = "3.6.0"
PARTS = 2
"""Processes that compile at a time."""
INSTALL_S = 300
COMPILE_S = 900


class Unavailable(Exception):
    """A Triton is not here and cannot be fetched."""


@dataclass(frozen=True)
class Triton:
    """A version, and where it lies if that is not the environment."""

    version: str
    directory: Path | None = None


def installed() -> Triton:
    """The one of the environment."""
    return Triton(version("triton"))


def older() -> Triton:
    """3.6.0, from `.tools`; fetched there if it is missing, by one process at a time.

    Raises:
        Unavailable: It is missing and no index of packages can be reached.
    """
    tools = ROOT / ".tools"
    tools.mkdir(exist_ok=True)
    directory = tools / f"triton-{OLDER}-{sys.implementation.cache_tag}"
    with (tools / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            part = directory.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            _fetch(part)
            part.rename(directory)
    return Triton(OLDER, directory)


def _fetch(directory: Path) -> None:
    uv = shutil.which("uv", path=f"{ROOT / '.tools/bin'}:{os.environ.get('PATH', '')}")
    if uv is None:
        raise Unavailable(f"Triton {OLDER} is not in {directory.parent}, and there is no uv to fetch it with")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    command += ["--target", str(directory), f"triton=={OLDER}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Triton {OLDER} did not come within {INSTALL_S} s") from None
    if done.returncode:
        raise Unavailable(f"Triton {OLDER} cannot be fetched: {done.stderr.strip()[-300:]}")


def compile_all(triton: Triton, *modules: str, parts: int = PARTS) -> list[Figures]:
    """The figures of all launches, in the order of their labels.

    Args:
        triton: Which compiler.
        modules: Whose launches; none: all that are shipped.
        parts: Processes to share the work among.

    Raises:
        RuntimeError: A process failed; the end of what it said.
    """
    path = [str(triton.directory)] if triton.directory else []
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([*path, str(HERE)])
    cache = ROOT / "runs/hopper" / triton.version
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "driver.py"), "--part", f"{i}/{parts}", "--cache", str(cache)]
            + (["--of", *modules] if modules else []),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(parts)
    ]
    found: list[Figures] = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=COMPILE_S)
            if process.returncode:
                raise RuntimeError(f"Triton {triton.version}: the driver failed: {err[-3000:]}")
            found += from_json(out)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return sorted(found, key=lambda one: one.label)


def sources() -> str:
    """A hash of all that the figures of the shipped launches follow from, but for Triton."""
    files = sorted(
        [*(ROOT / "kernels/curtail_kernels").rglob("*.py"), HERE / "driver.py", HERE / "figures.py"]
    )
    found = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        found.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def recorded(triton: Triton) -> list[Figures] | None:
    """The figures of all shipped launches, if they are on record for these very sources."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    known = record["sources"] == sources() and triton.version in record["figures"]
    return from_json(json.dumps(record["figures"][triton.version])) if known else None


def write_record(by_version: dict[str, list[Figures]]) -> None:
    """Put the figures on record."""
    figures = {name: json.loads(as_json(found)) for name, found in by_version.items()}
    text = json.dumps({"sources": sources(), "figures": figures}, indent=0)
    RECORD.write_text(text + "\n", encoding="utf-8")


def table(by_version: dict[str, list[Figures]]) -> str:
    """Markdown: a row for each launch, registers by version, then what the first version says of the rest.

    Launches for fp16 have none: they are those for bf16 but for the type.
    """
    versions = list(by_version)
    registers = {each: {one.label: one.registers for one in found} for each, found in by_version.items()}
    heads = [
        "launch",
        "warps",
        "stages",
        *(f"registers, {each}" for each in versions),
        "shared KiB",
        "HGMMA",
        "TMA loads",
    ]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for one in by_version[versions[0]]:
        if one.label.endswith(" fp16"):
            continue
        own = [str(registers[each].get(one.label, "")) for each in versions]
        rest = [f"{one.shared / 1024:.1f}", str(one.hgmma), str(one.tma_loads)]
        lines.append([one.label, str(one.num_warps), str(one.num_stages), *own, *rest])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    by_version = {each.version: compile_all(each) for each in (installed(), older())}
    if args.table:
        print(table(by_version))  # noqa: T201
        return 0
    if args.record:
        write_record(by_version)
    bad = [
        f"Triton {name}: {one.label}: {what}"
        for name, found in by_version.items()
        for one in found
        for what in broken(one)
    ]
    launches = sum(map(len, by_version.values()))
    print("\n".join(bad) or f"{launches} launches are fit for Hopper")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
