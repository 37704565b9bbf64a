"""The tuning script's choice, and that what it prints is the table as it stands in the source."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from curtail_kernels.attention.configs import TABLE, Config
from curtail_kernels.mlp_products import TABLE as PRODUCTS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tune_kernels

    return tune_kernels


def test_the_fastest_right_candidate_of_each_row_is_taken(tune: Any) -> None:
    key, other = ("forward", (9, 0), 64, "tma"), ("dq", (9, 0), 64, "tma")
    slow, fast, wrong = Config(64, 64, 4, 2), Config(128, 64, 8, 2), Config(128, 128, 8, 3)
    found = [
        tune.Found(key, slow, 2.0, None),
        tune.Found(key, fast, 1.0, None),
        tune.Found(key, wrong, float("inf"), "is far from the reference"),
        tune.Found(other, wrong, float("inf"), "does not compile"),
    ]
    assert tune.best(found) == {key: fast}


def test_the_rows_are_printed_as_they_stand_in_the_table(tune: Any) -> None:
    source = (ROOT / "kernels/curtail_kernels/attention/configs.py").read_text()
    assert tune.as_rows(TABLE) in source


def test_who_places_the_queries_is_printed_where_it_was_measured(tune: Any) -> None:
    found = {64: tune.Placed(before=2.0, in_forward=1.0), 128: tune.Placed(before=1.0, in_forward=2.0)}
    assert tune.as_choices((9, 0), found) == "    ((9, 0), 64): True,\n    ((9, 0), 128): False,"
    assert tune.as_choices((9, 0), {64: "RuntimeError: no"}) == ""


def test_every_row_of_the_table_can_be_measured(tune: Any) -> None:
    assert set(TABLE) <= set(tune.keys((9, 0)))
    assert all(len(list(tune.candidates(key[0]))) >= 8 for key in TABLE)


def test_the_rows_of_the_products_are_printed_as_they_stand_in_the_table(tune: Any) -> None:
    from gpu_kernels.mlp_tuning import Tuned, as_in_product, as_table

    rows = {
        product: {"config": config._asdict(), "over_two_steps": ratio}
        for (product, _), config, ratio in zip(PRODUCTS, PRODUCTS.values(), (1.1, 0.9), strict=True)
    }
    assert tune
    source = (ROOT / "kernels/curtail_kernels/mlp_products.py").read_text()
    assert as_table((9, 0), Tuned([], rows)) in source
    assert as_in_product((9, 0), Tuned([], rows)) == (
        '    ("squares", (9, 0)): True,\n    ("slopes", (9, 0)): False,'
    )


def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/tune_kernels.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"CUDA_VISIBLE_DEVICES": ""}, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "there is no CUDA device here" in done.stdout
