"""What is made of what the queue shows, told with programs that say what a test wants; no Slurm is needed."""

import os
from functools import partial
from pathlib import Path

import pytest

from curtail_dist.membership.provision.place import Refused, Unanswered
from curtail_dist.membership.provision.slurm.provisioner import SlurmPlace
from curtail_dist.membership.provision.slurm.step import TOLD

KILLED = 9


class Queue:
    """Slurm's commands, which show what `show` was told, and write down what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = folder / "lines"
        self.asked = folder / "asked"
        self.lines.touch()
        self._program(
            "squeue", f'case "$*" in *--steps*) echo 7.0; echo 7.batch;; *) cat {self.lines};; esac'
        )
        self._program("scancel", f'echo "$*" >>{self.asked}')
        self._program("sbatch", f'cat >{folder / "script"}; echo "$*" >>{self.asked}; echo 7')
        self._program("sacct", "exit 1")

    def silence_accounting(self) -> None:
        """Have accounting not be reached from now on."""
        self._program(
            "sacct", "echo 'sacct: error: Unable to contact slurmdbd: Connection refused' >&2; exit 1"
        )

    def show(
        self, state: str, *, restarts: int = 0, status: int = 0, left: str = "UNLIMITED", number: int = 7
    ):
        self.lines.write_text(f"{number} {restarts} {status} {left} {state} None\n")

    def _program(self, name: str, line: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (self.folder / name).chmod(0o755)


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Queue:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Queue(tmp_path / "bin")


@pytest.fixture
def make_place(queue, make_config, tmp_path):
    config = make_config(slurm={"poll_s": 1e-9, "leave_s": 60.0})
    (tmp_path / "logs").mkdir()
    return partial(SlurmPlace, config, tmp_path / "run.yaml", "texas", lambda *_: ["torchrun"])


@pytest.fixture
def place(make_place) -> SlurmPlace:
    return make_place()


@pytest.fixture
def hasty(make_place) -> SlurmPlace:
    """One that does not wait for the record of an ended job."""
    return make_place(record_s=0.0)


@pytest.fixture
def end(tmp_path):
    """Write down how a job's ranks ended, as its batch script does."""

    def write(code: int, job: int = 7) -> None:
        (tmp_path / "logs" / f"texas.slurm.{job}.0.end").write_text(f"{code}\n")

    return write


def test_what_had_ended_before_the_first_look_is_not_there(queue, place):
    queue.show("COMPLETED")
    assert not place.look().there


def test_a_job_that_runs_is_found_and_no_other_is_submitted(queue, place):
    queue.show("RUNNING")
    place.begin({})
    assert place.look().ranks == (7000,)
    assert not queue.asked.exists()


def test_a_start_submits_a_job_whose_script_comes_from_the_template(queue, place):
    place.begin({"A": "b"})
    assert "--job-name=curtail.day.texas." in queue.asked.read_text()
    assert "torchrun" in (queue.folder / "script").read_text()


def test_ranks_of_a_job_that_is_put_back_are_the_same_until_they_have_left(queue, place, end):
    queue.show("RUNNING")
    before = place.look()
    queue.show("COMPLETING", restarts=1)
    assert place.look() == before
    end(TOLD)
    queue.show("PENDING", restarts=1)
    assert place.look().waiting == "PENDING"
    queue.show("RUNNING", restarts=1)
    assert place.look().ranks == (7001,)


@pytest.mark.parametrize(
    ("state", "left", "reclaimed"),
    [
        ("COMPLETED", "UNLIMITED", "Slurm was told to end the job"),
        ("COMPLETED", "5:00:00", "Slurm was told to end the job"),
        ("COMPLETED", "1:30", "time limit"),
        ("PREEMPTED", "5:00:00", "Slurm needs the machines for another job"),
    ],
)
def test_who_has_ended_ranks_in_order_is_told(queue, place, end, state, left, reclaimed):
    queue.show("RUNNING", left=left)
    place.look()
    queue.show(state, left=left)
    end(TOLD)
    seen = place.look()
    assert (seen.code, seen.occupies, seen.reclaimed) == (0, False, reclaimed)


@pytest.mark.parametrize("code", [0, 3])
def test_ranks_that_ended_by_themselves_have_their_code(queue, place, end, code):
    queue.show("RUNNING")
    place.look()
    queue.show("FAILED", status=code << 8)
    end(code)
    seen = place.look()
    assert (seen.code, seen.reclaimed) == (code, "")


def test_ranks_that_the_limit_killed_have_failed_and_it_is_said_what_helps(queue, place, end, caplog):
    queue.show("RUNNING", left="0:10")
    place.look()
    queue.show("TIMEOUT", status=KILLED)
    end(137)
    assert place.look().code == 137
    assert "a longer provisioner.slurm.leave_s" in caplog.text


def test_an_end_is_told_only_once_its_record_is_there(queue, place, end):
    queue.show("RUNNING")
    running = place.look()
    queue.show("COMPLETED")
    assert place.look() == running
    end(TOLD)
    assert place.look().reclaimed


@pytest.mark.parametrize(
    ("state", "status", "code"), [("COMPLETED", 0, 0), ("FAILED", 3 << 8, 3), ("NODE_FAIL", 0, 1)]
)
def test_without_a_record_slurms_word_counts_after_a_while(queue, hasty, state, status, code):
    queue.show("RUNNING")
    hasty.look()
    queue.show(state, status=status)
    assert hasty.look().code == code


def test_a_job_that_slurm_no_longer_knows_has_not_ended_in_order(queue, hasty):
    queue.show("RUNNING")
    hasty.look()
    queue.lines.write_text("")
    assert hasty.look().code == 1


def test_a_jobs_own_record_counts_where_accounting_is_silent(queue, place, end):
    queue.silence_accounting()
    queue.show("RUNNING")
    place.look()
    queue.lines.write_text("")
    with pytest.raises(Unanswered, match="Unable to contact slurmdbd"):
        place.look()
    end(TOLD)
    seen = place.look()
    assert (seen.code, seen.reclaimed) == (0, "Slurm was told to end the job")


def test_a_job_that_was_cancelled_before_it_began_is_no_failure(queue, place):
    queue.show("PENDING")
    place.look()
    queue.show("CANCELLED")
    seen = place.look()
    assert (seen.code, seen.reclaimed) == (0, "the job was cancelled before it began")


def test_a_start_that_ended_at_once_is_not_taken_for_the_one_before(queue, place, end):
    queue.show("RUNNING", number=6)
    place.look()
    queue.show("FAILED", number=6, status=5 << 8)
    end(5, job=6)
    assert place.look().code == 5
    place.begin({})
    queue.show("COMPLETED")
    assert place.look().code is None
    end(0)
    assert place.look().code == 0


def test_killing_begins_with_the_steps_which_slurm_would_else_only_ask(queue, place):
    queue.show("RUNNING")
    place.look()
    place.kill()
    assert queue.asked.read_text().splitlines() == ["--quiet --signal=KILL 7.0", "--quiet 7"]
    queue.show("CANCELLED")
    assert place.look().code == 137


def test_ranks_are_told_in_each_way_that_may_reach_them_but_once_in_each(queue, place):
    queue.show("RUNNING")
    place.end()
    assert queue.asked.read_text().splitlines() == [
        "--quiet --state=PENDING 7",
        "--quiet --signal=TERM --batch 7",
        "--quiet --signal=TERM 7",
    ]


def test_a_template_that_cannot_be_used_is_a_refusal(queue, make_config, tmp_path):
    config = make_config(slurm={"template": str(tmp_path / "none.sbatch")})
    with pytest.raises(Refused, match="cannot be read"):
        SlurmPlace(config, tmp_path / "run.yaml", "texas", lambda *_: ["torchrun"]).begin({})
