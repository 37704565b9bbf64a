"""One command of the user's, run to its end within its time; what it leaves running is its own affair."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from curtail_dist.units import Seconds

_LOOK_S = 0.02
_TAIL_BYTES = 4096
_LINE = 400
NOT_RUN = 127
"""The code of what could not even be run, as a shell has it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    code: int
    """Its exit code; 128 + n for signal n."""
    said: str
    """The last line that it wrote, shortened."""
    late: bool = False
    """Whether it was killed, since its time was over or nobody wants it any more."""

    def told(self, name: str) -> str:
        """Say it, of a command called `name`, for people."""
        said = f" and said: {self.said}" if self.said else " and said nothing"
        ended = "was killed, being late," if self.late else f"ended with code {self.code}"
        return f"the {name} command {ended}{said}"


def run_errand(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    limit: Seconds,
    log: Path | None = None,
    unwanted: threading.Event | None = None,
) -> Outcome:
    """Run a command; kill it, with its process group, after `limit` seconds or once it is `unwanted`.

    Its output is added to `log`, where there is one: what it leaves running may go on writing there. Raises
    nothing: a command that cannot be run has ended with NOT_RUN.
    """
    try:
        if log is None:
            with tempfile.TemporaryFile() as output:
                return _run(command, environment, output, limit, unwanted)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab+") as output:
            return _run(command, environment, output, limit, unwanted)
    except OSError as error:
        return Outcome(code=NOT_RUN, said=f"{error.strerror}: {error.filename}")


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes],
    limit: Seconds,
    unwanted: threading.Event | None,
) -> Outcome:
    begin = output.seek(0, os.SEEK_END)
    deadline, late = time.monotonic() + limit, False
    # No pipe: what the command leaves running would keep it open, and this waiting.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    ) as process:
        while not _ended(process):
            if time.monotonic() > deadline or (unwanted is not None and unwanted.is_set()):
                late = True
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    code = process.returncode
    return Outcome(code=code if code >= 0 else 128 - code, said=_last_line(output, begin), late=late)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _last_line(output: IO[bytes], begin: int) -> str:
    """Return the last line that is not empty, of what was written from `begin` on."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(begin, end - _TAIL_BYTES))
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:_LINE]
