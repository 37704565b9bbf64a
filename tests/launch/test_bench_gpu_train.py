"""What `make gpu-train` runs, tiny and on the CPU: all its parts work before there is a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_gpu_train.py"
DEADLINE_S = 150.0

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


def bench(out, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "gpu_train.json"
    done = bench(out, "--smoke")
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_correctness_comes_first_and_holds_on_a_cpu(found):
    assert found["correctness"]["holds"]
    assert found["correctness"]["fp32_cpu"] == found["correctness"]["device"] > 0


def test_each_depth_has_a_row_with_its_spread_and_one_for_cudnn(found):
    rows = {(row["depth"], row["attention"]): row for row in found["speed"]}
    assert len(rows) == len(found["speed"]) == 4
    for (_, attention), row in rows.items():
        if attention == "torch, cudnn":
            assert row["left_out"] == "there is no CUDA device"
            continue
        rate = row["tokens_per_s"]
        assert 0 < rate["least"] <= rate["median"] <= rate["most"]
        assert rate["n"] == 2
        assert {"mfu", "peak_memory_bytes", "compiled", "step_tokens", "flops_per_token"} <= row.keys()


def test_the_learning_part_says_what_it_learnt_on_and_how_often(found):
    learning = found["learning"]
    assert (learning["steps"], learning["cut_short"], learning["failed"]) == (10, None, False)
    assert learning["passes"] == learning["tokens"] / learning["corpus_tokens"] > 0
    assert list(learning["val_bpb"]) == ["0", "5", "10"]
    assert learning["loss"]


def test_it_says_what_it_is_measured_on_and_what_is_missing(found):
    assert {"gpu", "peak_flops", "cuda", "cudnn", "python", "torch"} <= found["machine"].keys()
    assert found["attention"]["measured"] == "torch"
    assert "ours" in found["attention"]["missing"]
    assert found["smoke"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path):
    done = bench(tmp_path / "out.json")
    assert done.returncode == 0
    assert "there is no CUDA device here, nothing was run" in done.stdout
    assert not (tmp_path / "out.json").exists()
