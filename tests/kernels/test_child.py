"""What a job does to its process costs that job alone."""

import os
import runpy
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 50.0


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_kernels import child

    return child


@pytest.fixture
def health(tmp_path: Path) -> Path:
    """What is written there is done after each job."""
    file = tmp_path / "health.py"
    file.write_text("")
    return file


@pytest.fixture
def child(module: Any, health: Path) -> Iterator[Any]:
    with module.Child(check=partial(runpy.run_path, str(health))) as child:
        yield child


def test_jobs_are_done_by_one_process_that_is_not_this_one(child: Any) -> None:
    first, second = (child.do(os.getpid, LIMIT_S) for _ in range(2))
    assert first == second != os.getpid()


@pytest.mark.slow
def test_what_takes_its_process_along_costs_that_job_alone(child: Any, module: Any, health: Path) -> None:
    before = child.do(os.getpid, LIMIT_S)
    assert child.do(partial(int, "x"), LIMIT_S).why.startswith("ValueError: invalid literal")
    assert child.do(os.getpid, LIMIT_S) == before

    assert child.do(partial(os._exit, 3), LIMIT_S) == module.Undone("ended its process, with exit code 3")
    after_exit = child.do(os.getpid, LIMIT_S)
    assert child.do(signal.pause, 0.2) == module.Undone("was given up after 0 s")
    after_pause = child.do(os.getpid, LIMIT_S)
    with pytest.raises(ProcessLookupError):
        os.kill(after_exit, 0)

    unfit = child.do(partial(health.write_text, "raise RuntimeError('illegal address')"), LIMIT_S)
    assert unfit == module.Undone("lost the device: RuntimeError: illegal address")
    health.write_text("")
    assert len({before, after_exit, after_pause, child.do(os.getpid, LIMIT_S)}) == 4


def test_a_job_that_failed_says_why_itself_where_the_device_is_lost_too(child: Any, health: Path) -> None:
    health.write_text("raise RuntimeError('illegal address')")
    assert child.do(partial(int, "x"), LIMIT_S).why.startswith("ValueError")


def test_no_process_is_left(child: Any) -> None:
    pid = child.do(os.getpid, LIMIT_S)
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    child.close()


def test_a_process_that_does_not_start_is_said(module: Any) -> None:
    with (
        module.Child(partial(os._exit, 7)) as child,
        pytest.raises(RuntimeError, match="does not start, its exit code is 7"),
    ):
        child.do(os.getpid, LIMIT_S)
