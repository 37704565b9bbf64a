"""Which blocks, warps and stages each attention kernel takes on which device: a table, no search."""

from typing import Literal, NamedTuple

Kernel = Literal["forward", "dq", "dkdv", "prologue"]
Path = Literal["pointers", "tma"]

HEAD_DIMS = (64, 128)
"""The D that the kernels have."""

PATHS: tuple[Path, ...] = ("tma", "pointers")
"""How tensors reach them."""


class Config(NamedTuple):
    """The shape of one program."""

    block_m: int
    """Queries in a block; tokens in a block of the prologue."""
    block_n: int
    """Keys in a block; 0 where there are none."""
    num_warps: int
    num_stages: int


TABLE: dict[tuple[Kernel, tuple[int, int], int, Path], Config] = {
    ("forward", (9, 0), 64, "tma"): Config(128, 128, 8, 3),
    ("forward", (9, 0), 128, "tma"): Config(128, 128, 8, 2),
    ("forward", (9, 0), 64, "pointers"): Config(128, 64, 8, 3),
    ("forward", (9, 0), 128, "pointers"): Config(128, 32, 8, 3),
    ("dq", (9, 0), 64, "tma"): Config(128, 128, 8, 2),
    ("dq", (9, 0), 128, "tma"): Config(128, 64, 8, 2),
    ("dq", (9, 0), 64, "pointers"): Config(128, 64, 8, 2),
    ("dq", (9, 0), 128, "pointers"): Config(128, 64, 8, 2),
    ("dkdv", (9, 0), 64, "tma"): Config(64, 128, 8, 2),
    ("dkdv", (9, 0), 128, "tma"): Config(64, 128, 8, 2),
    ("dkdv", (9, 0), 64, "pointers"): Config(64, 128, 8, 2),
    ("dkdv", (9, 0), 128, "pointers"): Config(32, 128, 8, 2),
    ("prologue", (9, 0), 64, "pointers"): Config(64, 0, 4, 1),
    ("prologue", (9, 0), 128, "pointers"): Config(32, 0, 4, 1),
}
"""(kernel, compute capability, D, path) -> config, for 16-bit tensors."""

PLACES_QUERIES: dict[tuple[tuple[int, int], int], bool] = {}
"""(compute capability, D) -> whether forward rotates and norms its queries itself, which saves reading them
once more and costs it registers. No device is here before it was measured."""

OTHERS = Config(32, 32, 4, 1)
"""Any other device, and fp32 anywhere: small enough for all of them."""

SMALL = Config(64, 64, 4, 1)
"""For the interpreter, where a block costs the same whatever its size."""


def config_for(kernel: Kernel, capability: tuple[int, int], D: int, path: Path, itemsize: int) -> Config:
    """The row of the table, or the one for all others."""
    if itemsize != 2:
        return OTHERS
    return TABLE.get((kernel, capability, D, path), OTHERS)
