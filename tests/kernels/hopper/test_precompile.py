"""Candidates are compiled by processes that launch none of them."""

import runpy
from functools import partial
from pathlib import Path

import pytest
from curtail_kernels.attention.configs import Config

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.timeout(300), pytest.mark.hopper]


def test_what_compiles_is_kept_on_disk_without_a_launch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_kernels.precompile import attention_task, compile_all
    from gpu_kernels.timing import Budget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "code"))
    no_gpu = tmp_path / "no_gpu.py"
    no_gpu.write_text(
        "from driver import NoGpu\nfrom triton.runtime.driver import driver\ndriver.set_active(NoGpu())\n"
    )
    prologue = partial(attention_task, "prologue", "pointers", 64, window=None, device="cpu")
    tasks = [partial(prologue, config=Config(block, 0, 4, 1)) for block in (32, 48)]
    setup = partial(runpy.run_path, str(no_gpu))
    # With this driver a launch would fail. A block of 48 is no power of two.
    assert compile_all(tasks, Budget(240), setup=setup, workers=1) == 1
    assert list((tmp_path / "code").rglob("*.cubin"))
