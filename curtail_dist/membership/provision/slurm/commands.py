"""Slurm's own commands, each run to its end within its time."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence

from curtail_dist.membership.provision.place import Refused, Unanswered
from curtail_dist.membership.provision.slurm.jobs import FORMAT, SACCT_FORMAT, Job, ended_of_sacct
from curtail_dist.units import Seconds

_ASK_S: Seconds = 20.0
_SUBMIT_S: Seconds = 30.0
_OF_A_JOB = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_", "SACCT_")
_OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
_SILENT = re.compile(
    r"unable to contact|timed out|connect failure|connection (failure|refused|reset)|broken pipe|zero bytes"
    r"|message (send|receive) failure|standby mode|not accepting requests|resource temporarily"
    r"|no route to host|network is unreachable",
    re.I,
)
"""What a command says where slurmctld has not answered it, or no longer: it may have done what was asked."""


def outside_a_job(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what a job leaves in it: an agent may run in a job of its own."""
    return {
        name: value
        for name, value in variables.items()
        if name in _OF_THE_CLUSTER or not name.startswith(_OF_A_JOB)
    }


def jobs_named(name: str) -> list[Job]:
    """Return this user's jobs of a name, those too that ended a few minutes ago.

    Raises Unanswered, Refused.
    """
    out = _run(["squeue", "--me", "--states=all", "--noheader", f"--name={name}", f"--Format={FORMAT}"])
    try:
        return [Job.of_squeue(line) for line in out.splitlines() if line.strip()]
    except ValueError as error:
        raise Unanswered(f"squeue gives lines that cannot be read ({error})") from error


def ended(number: int) -> Job | None:
    """Return a job that squeue no longer shows, by what accounting keeps; None where it keeps nothing."""
    try:
        out = _run(
            [
                "sacct",
                "--allocations",
                "--noheader",
                "--parsable2",
                f"--jobs={number}",
                f"--format={SACCT_FORMAT}",
            ]
        )
    except Refused:  # most often: there is no accounting
        return None
    return ended_of_sacct(number, out)


def submit(options: Sequence[str], script: str, environment: Mapping[str, str]) -> int:
    """Have a batch script run as a job and return its number. Raises Unanswered, Refused."""
    out = _run(["sbatch", *options], limit=_SUBMIT_S, text=script, environment=environment)
    number = out.strip().partition(";")[0]
    if not number.isdigit():
        raise Unanswered(f"sbatch gives {out.strip()!r}, which is no job's number")
    return int(number)


def tell(number: int) -> None:
    """Have a job's ranks told to end, once: those of its steps, and its batch script if it has no step yet.

    What still waits is taken back. Raises Unanswered.
    """
    for how in (["--state=PENDING"], ["--signal=TERM", "--batch"], ["--signal=TERM"]):
        _cancel(number, how)


def kill(number: int) -> None:
    """Have all of a job killed, or taken back. Raises Unanswered, Refused.

    Its steps by themselves first: where it ends a job Slurm sends SIGTERM and is patient, however asked.
    """
    steps = _run(["squeue", "--steps", "--noheader", f"--jobs={number}", "--format=%i"]).split()
    for step in steps:
        if step.rpartition(".")[2].isdigit():
            _cancel(step, ["--signal=KILL"])
    _cancel(number, [])


def take_back(number: int) -> None:
    """Have a job that waits never begin. Raises Unanswered."""
    _cancel(number, ["--state=PENDING"])


def _cancel(what: int | str, how: Sequence[str]) -> None:
    try:
        _run(["scancel", "--quiet", *how, str(what)])
    except Refused:  # it has ended meanwhile, or nothing of that kind runs: the next look tells
        return


def _run(
    command: Sequence[str],
    *,
    limit: Seconds = _ASK_S,
    text: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    name = command[0]
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            env=outside_a_job(os.environ) if environment is None else environment,
        )
    except FileNotFoundError as error:
        raise Refused(f"there is no {name} on PATH; run the agent where Slurm's commands are") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unanswered(f"{name} gives no answer in {limit:g} s ({type(error).__name__})") from error
    if done.returncode == 0:
        return done.stdout
    said = _last(done.stderr or done.stdout, name)
    if _SILENT.search(done.stderr):
        raise Unanswered(f"{name}: {said}")
    raise Refused(f"{name}: {said}")


def _last(text: str, name: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (
        lines[-1].removeprefix(f"{name}: ").removeprefix("error: ")
        if lines
        else "it failed, and said nothing"
    )
