"""What Slurm's commands say, read; no Slurm is needed."""

import re

import pytest

from curtail_dist.membership.provision.place import Refused, Unanswered
from curtail_dist.membership.provision.slurm.commands import jobs_named, outside_a_job, submit
from curtail_dist.membership.provision.slurm.jobs import Job, ended_of_sacct, seconds_of

LINE = "16                  2           36608       1-02:03:04          PENDING             {reason}   "


def test_a_line_of_squeue_is_a_job():
    job = Job.of_squeue(LINE.format(reason="Nodes required for job are DOWN, DRAINED or reserved"))
    assert (job.number, job.restarts, job.code, job.left) == (16, 2, 143, 93784.0)
    assert job.waits
    assert not job.over
    assert job.told == "PENDING: Nodes required for job are DOWN, DRAINED or reserved"


def test_no_reason_is_none():
    assert Job.of_squeue(LINE.format(reason="None")).told == "PENDING"


@pytest.mark.parametrize("status", [9, 9 | 0x80])
def test_a_script_that_was_killed_has_the_signals_code(status):
    line = LINE.replace("36608", str(status)).replace("PENDING", "FAILED ").format(reason="NonZeroExitCode")
    assert Job.of_squeue(line).code == 137


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "RESIZING"])
def test_what_has_begun_and_not_ended_runs(state):
    job = Job(number=1, state=state)
    assert not job.waits
    assert not job.over


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"])
def test_what_has_ended_is_over(state):
    assert Job(number=1, state=state).over


def test_a_line_that_is_no_job_is_no_answer(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unpack"):
        Job.of_squeue("slurm_load_jobs")
    program(tmp_path, monkeypatch, "squeue", "echo slurm_load_jobs")
    with pytest.raises(Unanswered, match="squeue gives lines that cannot be read"):
        jobs_named("x")


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("4:56", 296.0), ("1:00:00", 3600.0), ("2-00:00:01", 172801.0), ("UNLIMITED", None), ("INVALID", None)],
)
def test_durations_as_slurm_writes_them(duration, seconds):
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [
        ("COMPLETED|0:0\n", "COMPLETED", 0),
        ("CANCELLED by 1000|0:0\n", "CANCELLED", 0),
        ("FAILED|3:0\n", "FAILED", 3),
        ("OUT_OF_MEMORY|0:125\n", "OUT_OF_MEMORY", 253),
        ("TIMEOUT|0:15\n", "TIMEOUT", 143),
    ],
)
def test_what_accounting_keeps_of_a_job(said, state, code):
    assert ended_of_sacct(7, said) == Job(number=7, state=state, code=code)


@pytest.mark.parametrize("said", ["", "\n", "RUNNING|0:0\n", "State|ExitCode\n", "Slurm accounting is off"])
def test_accounting_that_keeps_nothing_says_nothing(said):
    assert ended_of_sacct(7, said) is None


def program(folder, monkeypatch, name, line):
    (folder / name).write_text(f"#!/bin/sh\n{line}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_a_refusal_is_told_by_its_last_line(tmp_path, monkeypatch):
    program(
        tmp_path,
        monkeypatch,
        "sbatch",
        "echo 'sbatch: error: first' >&2; echo 'sbatch: error: why' >&2; exit 1",
    )
    with pytest.raises(Refused, match=r"^sbatch: why$"):
        submit([], "", {"PATH": str(tmp_path) + ":/bin:/usr/bin"})


def test_a_controller_that_is_away_is_no_refusal(tmp_path, monkeypatch):
    line = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    program(tmp_path, monkeypatch, "squeue", line)
    with pytest.raises(Unanswered, match="Unable to contact"):
        jobs_named("x")


@pytest.mark.parametrize(
    "said",
    [
        "Connection reset by peer",
        "Zero Bytes were transmitted or received",
        "Unable to contact slurm controller (receive failure)",
        "Socket timed out on send/recv operation",
        "Slurm backup controller in standby mode",
    ],
)
def test_a_submission_whose_answer_is_lost_is_no_refusal_since_it_may_have_been_taken(
    tmp_path, monkeypatch, said
):
    line = f"echo 'sbatch: error: Batch job submission failed: {said}' >&2; exit 1"
    program(tmp_path, monkeypatch, "sbatch", line)
    with pytest.raises(Unanswered, match=re.escape(said)):
        submit([], "", {"PATH": str(tmp_path) + ":/bin:/usr/bin"})


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="there is no squeue on PATH; run the agent where"):
        jobs_named("x")


def test_a_number_of_a_federation_comes_with_its_cluster(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "sbatch", "echo '12;here'")
    assert submit([], "", {"PATH": str(tmp_path) + ":/bin:/usr/bin"}) == 12


def test_an_agent_in_a_job_hands_nothing_of_it_on():
    inside = {
        "SLURM_JOB_ID": "1",
        "SBATCH_PARTITION": "x",
        "SLURM_CONF": "/c",
        "SLURM_JWT": "t",
        "HOME": "/h",
    }
    assert outside_a_job(inside) == {"SLURM_CONF": "/c", "SLURM_JWT": "t", "HOME": "/h"}
