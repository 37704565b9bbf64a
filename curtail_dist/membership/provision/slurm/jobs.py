"""What Slurm says of jobs: the lines of squeue and sacct, read."""

import re
from dataclasses import dataclass
from typing import Self

from curtail_dist.units import Seconds

FORMAT = "JobID:20,RestartCnt:12,exit_code:12,TimeLeft:20,State:20,Reason:120"
"""squeue's, of the lines that `Job.of_squeue` reads."""
SACCT_FORMAT = "State,ExitCode"
_WAITING = (
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
)
_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
_DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, as squeue shows it."""

    number: int
    state: str
    """In capitals, as Slurm has it."""
    reason: str = ""
    """Why it is there or waits; empty: for none."""
    restarts: int = 0
    """How often it was requeued."""
    code: int = 0
    """How its batch script ended; 128 + n for signal n. Once over."""
    left: Seconds | None = None
    """Until its time limit; None: it has none, or none that is known."""

    @classmethod
    def of_squeue(cls, line: str) -> Self:
        """Read a line of squeue in FORMAT. Raises ValueError."""
        number, restarts, status, left, state, reason = line.split(None, 5)
        return cls(
            number=int(number),
            state=state,
            reason="" if reason.strip() == "None" else reason.strip(),
            restarts=int(restarts),
            code=_code_of(int(status)),
            left=seconds_of(left),
        )

    @property
    def waits(self) -> bool:
        """Whether none of it runs yet, or again."""
        return self.state in _WAITING

    @property
    def over(self) -> bool:
        """Whether it has ended, and nothing of it runs."""
        return self.state in _OVER

    @property
    def told(self) -> str:
        """Its state, with the reason where there is one."""
        return f"{self.state}: {self.reason}" if self.reason else self.state


def ended_of_sacct(number: int, text: str) -> Job | None:
    """Return an ended job by the first line of sacct's answer in SACCT_FORMAT; None where it has none."""
    first = next(iter(text.splitlines()), "")
    state, bar, codes = first.partition("|")
    code, colon, sign = codes.partition(":")
    word = state.partition(" ")[0]
    if not (bar and colon and code.isdigit() and sign.isdigit()) or word not in _OVER:
        return None
    return Job(number=number, state=word, code=128 + int(sign) if int(sign) else int(code))


def seconds_of(duration: str) -> Seconds | None:
    """Return a duration as Slurm writes it, [DAYS-][HOURS:]MINUTES:SECONDS; None for a word instead."""
    found = _DURATION.fullmatch(duration)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _code_of(status: int) -> int:
    """Return the exit code in what a process leaves to who waits for it."""
    sign = status & 0x7F
    return 128 + sign if sign else (status >> 8) & 0xFF
