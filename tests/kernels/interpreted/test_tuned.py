"""The tuning script holds each kernel against the reference before it times it."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from curtail_kernels.attention.configs import SMALL, Config


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    from gpu_kernels import tuning

    monkeypatch.setattr(tuning, "WINDOWS", (None, 40))
    return tuning


@pytest.fixture
def bench(tune: Any) -> Any:
    case = tune.Case(B=1, T=96, D=64, width=128, window=None, group=1)
    return tune.Bench(case, torch.device("cpu"))


@pytest.mark.parametrize("kernel", ["forward", "dq", "dkdv", "prologue"])
def test_a_right_kernel_is_timed(bench: Any, kernel: str) -> None:
    assert bench.took(kernel, "pointers", SMALL, {}, 1) > 0


def test_a_wrong_kernel_is_out(bench: Any) -> None:
    wrong = {("forward", None): [torch.zeros(1, 96, 2, 64)]}
    with pytest.raises(ValueError, match="from the reference"):
        bench.took("forward", "pointers", Config(32, 64, 4, 1), wrong, 1)


def test_both_ways_to_placed_queries_are_timed_if_they_give_the_same(
    bench: Any, tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    assert min(bench.took_placed(1)) > 0
    monkeypatch.setattr(tune, "APART", -1.0)
    with pytest.raises(ValueError, match="both ways are"):
        bench.took_placed(1)
