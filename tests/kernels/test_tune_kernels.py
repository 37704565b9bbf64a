"""The tuning script's choice, and that what it writes is the table as it stands in the source."""

import json
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from curtail_kernels import mlp_products
from curtail_kernels.attention import configs
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


def shipped(tune: Any, places: tuple[float, float], ratios: tuple[float, float]) -> Any:
    """The choice of a run that found the shipped tables best."""
    from gpu_kernels.mlp_tuning import Tuned

    rows = {
        product: {"config": config._asdict(), "over_two_steps": ratio}
        for (product, _), config, ratio in zip(PRODUCTS, PRODUCTS.values(), ratios, strict=True)
    }
    placed = {64: tune.Placed(before=2.0, in_forward=places[0]), 128: tune.Placed(2.0, places[1])}
    return tune.choice((9, 0), TABLE, placed, Tuned([], rows))


def test_the_choice_is_written_into_the_tables_and_nothing_else_changes(tune: Any, tmp_path: Path) -> None:
    folder = tmp_path / "curtail_kernels"
    shutil.copytree(tune.KERNELS, folder)
    tune.write(shipped(tune, (1.0, 3.0), (1.1, 0.9)), folder)
    configs_, products = "attention/configs.py", "mlp_products.py"
    for name, empty, rows in (
        (
            configs_,
            "tuple[tuple[int, int], int], bool] = {}",
            "((9, 0), 64): True,\n    ((9, 0), 128): False",
        ),
        (
            products,
            "tuple[int, int]], bool] = {}",
            '("squares", (9, 0)): True,\n    ("slopes", (9, 0)): False',
        ),
    ):
        right = (tune.KERNELS / name).read_text()
        assert right.count(empty) == 1
        right = right.replace(empty, f"{empty[:-1]}\n    {rows},\n}}")
        assert (folder / name).read_text() == right


def test_a_row_takes_the_place_of_the_one_with_its_key(tune: Any) -> None:
    from gpu_kernels.tuned import with_rows

    assert tune
    source = 'A: dict[str, int] = {\n    ("a", 1): 1,\n    ("b", 1): 2,\n}\n"""Of a."""\n'
    source = f'"""Module."""\n\n{source}\nB: dict[str, int] = {{}}\n"""Of b."""\n'
    found = with_rows(source, "A", ['    ("b", 1): 3,', '    ("c", 1): 4,'])
    assert found == source.replace('("b", 1): 2,', '("b", 1): 3,\n    ("c", 1): 4,')
    assert with_rows(source, "B", ['    ("b", 1): 3,']) == source.replace("{}", '{\n    ("b", 1): 3,\n}')
    assert with_rows(source, "B", []) == source


def test_the_choice_is_put_into_the_tables(
    tune: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gpu_kernels import tuned

    kept = dict(TABLE), dict(PRODUCTS)
    chosen = json.loads(json.dumps(shipped(tune, (1.0, 3.0), (1.1, 0.9))))
    for table in (TABLE, PRODUCTS):
        for key in list(table):
            monkeypatch.delitem(table, key)  # and restored at the end
    monkeypatch.setattr(configs, "PLACES_QUERIES", {})
    monkeypatch.setattr(mlp_products, "IN_PRODUCT", {})
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"chosen": chosen}))
    tuned.put(tuned.read(file))
    assert kept == (TABLE, PRODUCTS)
    assert configs.PLACES_QUERIES == {((9, 0), 64): True, ((9, 0), 128): False}
    assert mlp_products.IN_PRODUCT == {("squares", (9, 0)): True, ("slopes", (9, 0)): False}


def test_a_kernel_that_spills_is_refused(tune: Any) -> None:
    from gpu_kernels.timing import refuse_spills

    assert tune
    refuse_spills(None)
    refuse_spills(SimpleNamespace(n_spills=0))
    with pytest.raises(ValueError, match="spills 12 registers"):
        refuse_spills(SimpleNamespace(n_spills=12))


def test_what_has_no_figures_is_not_chosen(tune: Any) -> None:
    from gpu_kernels.mlp_tuning import Tuned

    chosen = tune.choice((9, 0), {}, {64: tune.Undone("RuntimeError: no")}, Tuned([], {}))
    assert chosen == {"capability": [9, 0], "attention": [], "places_queries": {}, "products": []}


@pytest.mark.parametrize("text", ["", "[]", '{"found": []}'])
def test_a_file_that_is_none_is_said(tune: Any, tmp_path: Path, text: str) -> None:
    from gpu_kernels import tuned

    assert tune
    file = tmp_path / "found.json"
    file.write_text(text)
    with pytest.raises(
        ArgumentTypeError, match=r"found\.json is no result of tune_kernels\.py .*; run that first"
    ):
        tuned.read(file)


def test_every_row_of_the_table_can_be_measured(tune: Any) -> None:
    assert set(TABLE) <= set(tune.keys((9, 0)))
    assert all(len(list(tune.candidates(key[0]))) >= 8 for key in TABLE)


def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/tune_kernels.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={"CUDA_VISIBLE_DEVICES": ""}, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "there is no CUDA device here" in done.stdout
