"""One attention kernel of one config: held against the plain reference, then timed."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from curtail_kernels.attention import reference
from curtail_kernels.attention.configs import SMALL, TABLE, Config, Kernel, Path
from curtail_kernels.attention.cuda import placed_forward
from curtail_kernels.attention.dkdv import launch_dkdv
from curtail_kernels.attention.dq import launch_dq
from curtail_kernels.attention.forward import launch_forward
from curtail_kernels.attention.operands import Compiled, Placing
from curtail_kernels.attention.prologue import launch_rotary_norm
from torch import Tensor

from gpu_kernels.cases import Case, inputs
from gpu_kernels.timing import refuse_spills, relative_error, seconds

Key = tuple[Kernel, tuple[int, int], int, Path]
"""Of a row of attention's table."""

WINDOWS = (None, 768)
APART = 2e-2
"""How far a candidate may be from the reference, relative."""
CHECKED = 2
"""So many batch rows are compared with it, and so many heads: it is slow and large."""


def windows_of(kernel: Kernel) -> tuple[int | None, ...]:
    """Those that a kernel is timed with: the prologue knows none."""
    return (None,) if kernel == "prologue" else WINDOWS


def case_of(D: int) -> Case:
    """What all is measured on."""
    return Case(B=16, T=2048, D=D, width=1024, window=None, group=1)


class Placed(NamedTuple):
    """Seconds of raw queries' and keys' attention, over all windows."""

    before: float
    """The prologue rotates and norms both."""
    in_forward: float
    """The prologue does so with keys, forward with its queries."""


class Bench:
    """The tensors of one head dim, and what a right result of each kernel is."""

    def __init__(self, case: Case, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> None:
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
        self._rights: dict[tuple[Kernel, int | None], list[Tensor]] = {}

    def launch(
        self, kernel: Kernel, path: Path, config: Config, window: int | None
    ) -> Callable[[], Compiled]:
        """One kernel ready to be launched; it leaves its outputs in `self.outputs`."""
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

    def took(self, kernel: Kernel, path: Path, config: Config, repeats: int) -> float:
        """Seconds of a candidate over all windows.

        Raises:
            ValueError: It computes something else, or spills.
        """
        total = 0.0
        for window in windows_of(kernel):
            launch = self.launch(kernel, path, config, window)
            refuse_spills(launch())
            if (kernel, window) not in self._rights:
                self._rights[kernel, window] = self.right(kernel, window)
            for found, right in zip(self.outputs, self._rights[kernel, window], strict=True):
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
        place = self.place._asdict()
        return lambda: placed_forward(*self.raw, self.v, **place, window=window, in_forward=in_forward)


def candidate_took(key: Key, config: Config, repeats: int) -> float:
    """`Bench.took` of a candidate of a row."""
    kernel, _, D, path = key
    return bench_of(case_of(D), "cuda").took(kernel, path, config, repeats)


def placed_took(D: int, rows: dict[Key, Config], repeats: int) -> Placed:
    """`Bench.took_placed` where these rows are the table's."""
    TABLE.update(rows)
    return bench_of(case_of(D), "cuda").took_placed(repeats)


@cache
def bench_of(case: Case, device: str) -> Bench:
    """The tensors of a case, made once."""
    return Bench(case, torch.device(device))
