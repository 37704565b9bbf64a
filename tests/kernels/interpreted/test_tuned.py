"""The tuning script holds each kernel against the reference before it times it."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from curtail_kernels.attention.configs import SMALL, Config
from curtail_kernels.mlp_products import Config as Product


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
    assert bench.took(kernel, "pointers", SMALL, 1) > 0


def test_a_wrong_kernel_is_out(bench: Any) -> None:
    took = partial(bench.took, "forward", "pointers", Config(32, 64, 4, 1), 1)
    took()
    bench.v.add_(1)
    with pytest.raises(ValueError, match="from the reference"):
        took()


def test_both_ways_to_placed_queries_are_timed_if_they_give_the_same(
    bench: Any, tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    assert min(bench.took_placed(1)) > 0
    monkeypatch.setattr(tune, "APART", -1.0)
    with pytest.raises(ValueError, match="both ways are"):
        bench.took_placed(1)


SMALL_PRODUCTS = (Product(32, 64, 32, 4, 1, 1, False), Product(64, 64, 64, 4, 1, 1, True))
SHAPE = (96, 128, 64)


@pytest.fixture
def products(tune: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    from gpu_kernels import mlp, mlp_tuning

    monkeypatch.setattr(mlp_tuning, "TABLE", {})
    monkeypatch.setattr(mlp_tuning, "CANDIDATES", SMALL_PRODUCTS)
    assert tune
    return mlp, mlp_tuning


def here(job: Callable[[], Any]) -> Any:
    """Does a job in this process."""
    from gpu_kernels.child import Undone

    try:
        return job()
    except ValueError as error:
        return Undone(str(error))


def test_of_each_product_the_fastest_right_candidate_stands_beside_cublas(products: Any) -> None:
    mlp, tuning = products
    tuned = tuning.tune_products((9, 0), here, tuning.Budget(60), 1, SHAPE, "cpu")
    assert [(one.key[0], one.why) for one in tuned.found] == [
        (product, None) for product in mlp.PRODUCTS for _ in SMALL_PRODUCTS
    ]
    for product, row in tuned.rows.items():
        least = min((one for one in tuned.found if one.key[0] == product), key=lambda one: one.took)
        assert row["config"] == least.config._asdict()
        assert row["holds"]
        assert row["over_two_steps"] > 0


def test_a_product_that_is_wrong_is_out(products: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, tuning = products
    monkeypatch.setattr(mlp, "APART", -1.0)
    tuned = tuning.tune_products((9, 0), here, tuning.Budget(60), 1, SHAPE, "cpu")
    assert tuned.rows == {}
    assert {one.took for one in tuned.found} == {float("inf")}
    assert all("from the two steps" in one.why for one in tuned.found)


def test_candidates_are_compiled_by_processes_of_their_own(
    tune: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    from gpu_kernels.precompile import attention_task, compile_all, product_task
    from gpu_kernels.timing import Budget

    assert tune
    right = partial(product_task, "squares", SMALL_PRODUCTS[0], "cpu")
    wrong = partial(product_task, "slopes", Product(48, 64, 32, 4, 1, 1, False), "cpu")
    prologue = partial(attention_task, "prologue", "pointers", 64, Config(128, 0, 4, 1), None, "cpu")
    assert compile_all([right, wrong, prologue], Budget(120), workers=1) == 2
    assert compile_all([right], Budget(0), workers=1) == 0
    assert capfd.readouterr().err == ""
