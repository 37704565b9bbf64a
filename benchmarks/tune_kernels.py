"""Measures blocks, warps and stages of the attention kernels on the present GPU, and writes the table's rows.

    python benchmarks/tune_kernels.py [--minutes 8] [--out benchmarks/results/tune_kernels.json]

For each kernel, D and path every candidate is compiled, held against the plain reference, and timed with and
without a window; the row is the one with the least sum of both times. With those rows it is then measured
whether forward had better rotate and norm its queries itself. Printed are the rows of both tables of
`curtail_kernels.attention.configs`, to be put there; what there was no time for keeps its row. A row that
spills registers or takes too much shared memory is no row to ship: tests/kernels/hopper says so.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from curtail_kernels.attention.configs import HEAD_DIMS, SMALL, TABLE, Config, Kernel
from curtail_kernels.attention.configs import Path as Reach
from gpu_kernels.cases import Case, inputs
from gpu_kernels.timing import FAILURES, Budget, failure, relative_error, seconds
from torch import Tensor

WINDOWS = (None, 768)
REPEATS = 10
WHOLE_S = 30.0
"""Kept back for who places the queries."""
APART = 2e-2
"""How far a candidate may be from the reference, relative."""
CHECKED = 2
"""So many batch rows are compared with it, and so many heads: it is slow and large."""

Key = tuple[Kernel, tuple[int, int], int, Reach]

BLOCKS: dict[Kernel, tuple[tuple[int, int], ...]] = {
    "forward": ((128, 128), (128, 64), (64, 128), (64, 64)),
    "dq": ((128, 128), (128, 64), (64, 64), (128, 32)),
    "dkdv": ((64, 128), (32, 128), (64, 64), (128, 64)),
    "prologue": ((16, 0), (32, 0), (64, 0), (128, 0)),
}
"""(block_m, block_n) worth trying."""


class Found(NamedTuple):
    """What one candidate of one row took."""

    key: Key
    config: Config
    took: float
    """Seconds, over all windows; infinite if it failed or is wrong."""
    why: str | None
    """Why it is out."""


class Placed(NamedTuple):
    """Seconds of raw queries' and keys' attention, over all windows."""

    before: float
    """The prologue rotates and norms both."""
    in_forward: float
    """The prologue does so with keys, forward with its queries."""


def candidates(kernel: Kernel) -> Iterator[Config]:
    """What is tried for a row."""
    stages = (1,) if kernel == "prologue" else (2, 3)
    for (block_m, block_n), warps, depth in product(BLOCKS[kernel], (8, 4), stages):
        yield Config(block_m, block_n, warps, depth)


def keys(capability: tuple[int, int]) -> Iterator[Key]:
    """The rows to fill, those of most weight first."""
    kernels: tuple[Kernel, ...] = ("forward", "dkdv", "dq")
    paths: tuple[Reach, ...] = ("tma", "pointers")
    for path, D, kernel in product(paths, (128, 64), kernels):
        yield kernel, capability, D, path
    for D in (128, 64):
        yield "prologue", capability, D, "pointers"


def best(found: Iterable[Found]) -> dict[Key, Config]:
    """Of each row the candidate that took least, if any was right."""
    least: dict[Key, Found] = {}
    for one in found:
        if one.took < least.get(one.key, one._replace(took=float("inf"))).took:
            least[one.key] = one
    return {key: one.config for key, one in least.items()}


def as_rows(chosen: dict[Key, Config]) -> str:
    """Lines as they stand in the table."""
    return "\n".join(
        f'    ("{kernel}", {capability}, {D}, "{path}"): Config({", ".join(map(str, config))}),'
        for (kernel, capability, D, path), config in chosen.items()
    )


def as_choices(capability: tuple[int, int], found: dict[int, Placed | str]) -> str:
    """Lines as they stand in PLACES_QUERIES; of a D without figures there is none."""
    return "\n".join(
        f"    ({capability}, {D}): {took.in_forward < took.before},"
        for D, took in found.items()
        if not isinstance(took, str)
    )


class Bench:
    """The tensors of one head dim, and what a right result of each kernel is."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> None:
        from curtail_kernels.attention.operands import Placing
        from curtail_kernels.attention.prologue import launch_rotary_norm

        self.device = device
        self.case = case
        given = inputs(case, device, dtype)
        self.raw = given.q.detach(), given.k.detach()
        self.v, self.do, self.place = given.v.detach(), given.do, given.place
        self.q, self.k = (torch.empty_like(x) for x in self.raw)
        norms = [torch.empty(x.shape[:-1], device=device) for x in self.raw]
        launch_rotary_norm(
            *self.raw,
            self.place.cos,
            self.place.sin,
            self.q,
            self.k,
            *norms,
            gain=self.place.gain,
            eps=self.place.eps,
            config=SMALL,
        )
        self.placing = Placing(*norms, self.place.cos, self.place.sin, self.place.gain)
        self.outputs: list[Tensor] = []

    def launch(self, kernel: Kernel, path: Reach, config: Config, window: int | None) -> Callable[[], None]:
        """One kernel ready to be launched; it leaves its outputs in `self.outputs`."""
        from curtail_kernels.attention.dkdv import launch_dkdv
        from curtail_kernels.attention.dq import launch_dq
        from curtail_kernels.attention.forward import launch_forward
        from curtail_kernels.attention.prologue import launch_rotary_norm

        q, k, v, do = self.q, self.k, self.v, self.do
        scale = self.case.D**-0.5
        shared: dict[str, Any] = {"scale": scale, "window": window, "lengths": None, "path": path}
        if kernel == "prologue":
            outs = [torch.empty_like(x) for x in (q, k)]
            norms = [torch.empty(x.shape[:-1], device=x.device) for x in (q, k)]
            self.outputs = outs
            place = self.place
            return lambda: launch_rotary_norm(
                *self.raw, place.cos, place.sin, *outs, *norms, gain=place.gain, eps=place.eps, config=config
            )
        o, lse = torch.empty_like(q), q.new_empty(q.size(0), q.size(2), q.size(1), dtype=torch.float32)
        if kernel == "forward":
            self.outputs = [torch.empty_like(o)]
            return lambda: launch_forward(
                q, k, v, self.outputs[0], lse, bounded=True, config=config, **shared
            )
        launch_forward(q, k, v, o, lse, bounded=True, config=SMALL, **{**shared, "path": "pointers"})
        delta = (do.float() * o.float()).sum(-1).transpose(1, 2).contiguous()
        shared["placing"] = self.placing
        if kernel == "dq":
            self.outputs = [torch.empty_like(q)]
            return lambda: launch_dq(q, k, v, o, do, lse, delta, self.outputs[0], config=config, **shared)
        self.outputs = [torch.empty_like(k), torch.empty_like(v)]
        return lambda: launch_dkdv(q, k, v, do, lse, delta, *self.outputs, config=config, **shared)

    def right(self, kernel: Kernel, window: int | None) -> list[Tensor]:
        """The outputs of a kernel by the plain reference, of a few rows and heads."""
        from curtail_kernels.attention import reference

        def cut(x: Tensor) -> Tensor:
            return x[:CHECKED, :, :CHECKED]

        place = self.place
        if kernel == "prologue":
            options: dict[str, float] = {"gain": place.gain, "eps": place.eps}
            return [
                reference.reference_rotary_norm(cut(x), place.cos, place.sin, **options)[0] for x in self.raw
            ]
        q, k, v, do = map(cut, (self.q, self.k, self.v, self.do))
        o, lse = reference.reference_attention(q, k, v, window=window)
        if kernel == "forward":
            return [o]
        dq, dk, dv = reference.reference_attention_backward(do, q, k, v, o, lse, window=window)
        turned = [
            reference.reference_rotary_norm_backward(dy, y, cut(rms), place.cos, place.sin, gain=place.gain)
            for dy, y, rms in ((dq, q, self.placing.q_rms), (dk, k, self.placing.k_rms))
        ]
        return turned[:1] if kernel == "dq" else [turned[1], dv]

    def took(
        self, kernel: Kernel, path: Reach, config: Config, rights: dict[Any, list[Tensor]], repeats: int
    ) -> float:
        """Seconds of a candidate over all windows. `rights` keeps what is right of each.

        Raises:
            ValueError: It computes something else.
        """
        total = 0.0
        for window in WINDOWS if kernel != "prologue" else (None,):
            launch = self.launch(kernel, path, config, window)
            launch()
            if (kernel, window) not in rights:
                rights[kernel, window] = self.right(kernel, window)
            for found, right in zip(self.outputs, rights[kernel, window], strict=True):
                apart = relative_error(found[:CHECKED, :, :CHECKED], right)
                if apart > APART:
                    raise ValueError(f"is {apart:.1e} from the reference; it must be at most {APART}")
            total += seconds(launch, self.device, repeats=repeats)["median"]
        return total

    def took_placed(self, repeats: int) -> Placed:
        """Both ways to come to placed queries.

        Raises:
            ValueError: They do not give the same.
        """
        took = [0.0, 0.0]
        for window in WINDOWS:
            before, in_forward = (self._placed(window, in_forward) for in_forward in (False, True))
            apart = relative_error(in_forward()[0], before()[0])
            if apart > APART:
                raise ValueError(f"both ways are {apart:.1e} apart; it must be at most {APART}")
            for i, call in enumerate((before, in_forward)):
                took[i] += seconds(call, self.device, repeats=repeats)["median"]
        return Placed(*took)

    def _placed(self, window: int | None, in_forward: bool) -> Callable[[], tuple[Tensor, ...]]:
        from curtail_kernels.attention.cuda import placed_forward

        place = self.place._asdict()
        return lambda: placed_forward(*self.raw, self.v, **place, window=window, in_forward=in_forward)


def measure(budget: Budget, device: torch.device) -> Iterator[Found]:
    """Every candidate of every row, while there is time; the shipped row first."""
    benches: dict[int, Bench] = {}
    rights: dict[int, dict[Any, list[Tensor]]] = {}
    for key in keys(torch.cuda.get_device_capability(device)):
        kernel, _, D, path = key
        shipped = [TABLE[key]] if key in TABLE else []
        for config in [*shipped, *(each for each in candidates(kernel) if each not in shipped)]:
            if budget.left() < WHOLE_S:
                return
            if D not in benches:
                benches[D] = Bench(case_of(D), device)
            try:
                took = benches[D].took(kernel, path, config, rights.setdefault(D, {}), REPEATS)
                yield Found(key, config, took, None)
            except FAILURES as error:
                yield Found(key, config, float("inf"), failure(error))


def case_of(D: int) -> Case:
    """What all is measured on."""
    return Case(B=16, T=2048, D=D, width=1024, window=None, group=1)


def measure_placed(device: torch.device) -> dict[int, Placed | str]:
    """Of each D both ways, or why there are no figures."""
    found: dict[int, Placed | str] = {}
    for D in HEAD_DIMS:
        try:
            found[D] = Bench(case_of(D), device).took_placed(REPEATS)
        except FAILURES as error:
            found[D] = failure(error)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune_kernels.json"))
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("tune_kernels: there is no CUDA device here, nothing was run")
        return 0
    found: list[Found] = []
    device = torch.device("cuda")
    for one in measure(Budget(60 * args.minutes), device):
        found.append(one)
        print(one, flush=True)
    TABLE.update(best(found))
    placed = measure_placed(device)
    print(placed, flush=True)
    rows = [{**one._asdict(), "config": one.config._asdict()} for one in found if one.why is None]
    out = [{**one._asdict(), "took": None, "config": one.config._asdict()} for one in found if one.why]
    result = {
        "gpu": torch.cuda.get_device_name(),
        "windows": WINDOWS,
        "found": rows,
        "out": out,
        "placed": {D: took if isinstance(took, str) else took._asdict() for D, took in placed.items()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(as_rows(best(found)))
    print(as_choices(torch.cuda.get_device_capability(device), placed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
