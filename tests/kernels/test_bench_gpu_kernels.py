"""The benchmark of the kernels runs as far as a CPU lets it, and its goals are judged by the worst figure."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/bench_gpu_kernels.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_that_a_cpu_can_is_run_and_right(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = _run("--tiny", "--out", str(out))
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    found = json.loads(out.read_text())
    assert [row for row in found["rows"] if "failed" in row or "left_out" in row] == []
    assert {row["what"] for row in found["rows"]} == {
        "bare", "whole", "steps", "head", "mlp", "codec", "muon",
    }  # fmt: skip
    ours = [each for row in found["rows"] for name, each in row.items() if name.startswith("ours")]
    ways = {name for row in found["rows"] for name in row}
    checked = {row["what"].split(",")[0].split(" of ")[0] for row in found["correctness"]}
    assert checked == {"attention", "mlp", "head", "symmetric product"}
    assert {"ours, queries placed in attention", "ours, relu2 in the products"} <= ways
    assert [one for one in ours if "failed" in one] == []
    assert found["is_right"]
    assert found["machine"]["gpu"] is None


def test_without_a_gpu_it_says_so_and_leaves_the_results_alone(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = _run("--out", str(out))
    assert done.returncode == 0
    assert "there is no CUDA device here" in done.stdout
    assert not out.exists()


@pytest.mark.slow
def test_a_part_that_takes_its_process_along_has_failed_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench_gpu_kernels as bench

    names = {"fatal": partial(os._exit, 3), "fine": partial(dict, holds=True), "late": dict}
    parts = [
        bench.Part(name=name, takes_s=1e9 if name == "late" else 1, run=run) for name, run in names.items()
    ]
    with bench.Child(partial(bench.begin, None)) as child:
        fatal, fine, late = bench.measure(parts, child, bench.Budget(1000))
    assert (fatal["what"], fatal["failed"]) == ("fatal", "ended its process, with exit code 3")
    assert (fine["what"], fine["holds"]) == ("fine", True)
    assert late["left_out"].endswith("s were left, it takes 1000000000")
    assert bench.is_right([fine, late])
    assert not bench.is_right([fatal, fine])


def _bare(forward: float, rival: float, **shape: int | None) -> dict[str, object]:
    return {
        "what": "bare", "D": 128, "window": None, **shape,
        "ours": {"forward_s": {"median": forward}}, "cudnn": {"forward_s": {"median": rival}},
    }  # fmt: skip


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_kernels import goals

    return goals


def test_a_goal_is_held_against_the_worst_of_its_rows(goals: Any) -> None:
    rows = [_bare(1.0, 0.9), _bare(1.0, 0.7), _bare(1.0, 0.1, D=64)]
    first = goals.judge(rows)[0]
    assert first["least"] == pytest.approx(0.7)
    assert first["most"] == pytest.approx(0.9)
    assert (first["of_rows"], first["holds"], first["stretch_holds"]) == (2, False, False)


def test_a_goal_that_was_not_measured_neither_holds_nor_fails(goals: Any) -> None:
    found = goals.judge([{"what": "bare", "D": 128, "ours": {"failed": "x"}, "cudnn": {"left_out": "y"}}])
    assert {one["holds"] for one in found} == {None}


def test_steps_are_held_against_torchs(goals: Any) -> None:
    rows = [
        {"what": "steps", "means": name, "tokens_per_s": {"median": rate}, "peak_memory_bytes": peak}
        for name, rate, peak in (
            ("torch", 100.0, 20e9),
            ("attention", 104.0, 20e9),
            ("attention, head and relu2", 106.0, 13e9),
        )
    ]
    found = {one["goal"]: (one["least"], one["holds"]) for one in goals.judge(rows)}
    assert found["d12 with our attention"] == (pytest.approx(1.04), True)
    assert found["d12 with our attention, head and relu2"] == (pytest.approx(1.06), False)
    assert found["memory of a d12 at vocabulary 65,536, GB saved"] == (pytest.approx(7.0), True)


def test_ours_holds_only_beside_a_way_of_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_kernels.beside import beside

    def fails() -> tuple[torch.Tensor]:
        raise RuntimeError("out of memory")

    def gives(number: float) -> Callable[[], tuple[torch.Tensor]]:
        return lambda: (torch.full((2,), number),)

    def held(**ways: Callable[[], tuple[torch.Tensor]]) -> dict[str, Any]:
        found = beside(ways, torch.device("cpu"), repeats=1, apart=0.1)
        return {name: row.get("holds", row.get("failed")) for name, row in found.items()}

    assert held(torch=gives(1.0), ours=gives(1.05)) == {"torch": True, "ours": True}
    assert held(torch=gives(1.0), ours=gives(1.2)) == {"torch": True, "ours": False}
    assert held(flex=fails, cudnn=gives(1.0), ours=gives(1.2))["ours"] is False
    assert held(torch=fails, ours=gives(1.0)) == {"torch": "RuntimeError: out of memory", "ours": False}
