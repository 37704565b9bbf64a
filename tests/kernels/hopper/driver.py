"""Compiles every shipped launch for Hopper, and launches none: needs no GPU.

    python tests/kernels/hopper/driver.py [--part 0/2] [--cache runs/hopper] [--of MODULE ...]

Prints the figures of each launch as JSON. It is a process of its own: `@triton.jit` asks for the interpreter
when it runs, and PYTHONPATH says which Triton it is. What did not change is taken from the cache: code by
Triton's hash of source, options and version, figures by the hash of the code.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import triton
from figures import Figures, as_json, figures
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHIPPED = ["curtail_kernels.attention.launches", "curtail_kernels.launches"]
"""Modules whose `hopper_launches()` performs every shipped launch and says after each what it was."""


class NoGpu:
    """Stands where Triton's driver of a GPU does; good for compilation only."""

    def get_current_target(self) -> GPUTarget:
        """Hopper."""
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        """The one device there is not."""
        return 0

    def get_current_stream(self, _device: int | None = None) -> int:
        """Its stream."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Where the tensors of a launch lie."""
        return torch.device("cpu")


class Compiler:
    """Takes the place of launching: compiles this process's part of the launches and keeps what came of it.

    Args:
        part: (i, n): launches whose number leaves i when divided by n.
    """

    def __init__(self, part: tuple[int, int]) -> None:
        self._part = part
        self._launches = 0
        self.compiled: list[Any] = []
        """Of the launches since it was emptied: a compiled kernel, or None where it is another part's."""

    def install(self) -> None:
        """From now on a launch in this process is a compilation; errors of the compiler go to the caller."""
        driver.set_active(NoGpu())
        run = JITFunction.run

        def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
            own, parts = self._part
            is_own = self._launches % parts == own
            self._launches += 1
            result = run(kernel, *arguments, grid=grid, warmup=True, **options) if is_own else None
            self.compiled.append(result)
            return result

        JITFunction.run = compile_only


def read(launches: Iterable[str], compiler: Compiler, cache: Path) -> Iterator[Figures]:
    """The figures of launches that say, each after it was performed, what it was."""
    for label in launches:
        for i, compiled in enumerate(compiler.compiled):
            if compiled is not None:
                name = f"{label} {i}" if len(compiler.compiled) > 1 else label
                yield figures(name, compiled, cache)
        compiler.compiled.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", default="0/1", help="which of how many")
    parser.add_argument("--cache", type=Path, default=Path("runs/hopper"))
    parser.add_argument("--of", nargs="+", default=SHIPPED, help="modules with a function hopper_launches")
    args = parser.parse_args()
    own, parts = map(int, args.part.split("/"))
    triton.knobs.cache.dir = str(args.cache.resolve() / "code")
    compiler = Compiler((own, parts))
    compiler.install()
    cache = args.cache.resolve() / "figures"
    found: list[Figures] = []
    for name in args.of:
        found += read(import_module(name).hopper_launches(), compiler, cache)
    print(as_json(found))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
