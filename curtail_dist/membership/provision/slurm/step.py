"""One machine's torchrun in a Slurm step: `python -m ...provision.slurm.step TORCHRUN ...`.

Slurm sends SIGTERM to every process of a step, and torchrun would pass it on: to a rank the second one says
to end at once. So torchrun runs with SIGTERM blocked, and so does whatever it starts until `rank` lets
a rank hear it. A rank then hears Slurm's word once and has all the time that Slurm gives, and torchrun ends
by itself when its ranks have.

JOB in the command stands for the job's number and how often it was requeued: a name for the rendezvous. The
exit code is torchrun's, but TOLD where it is 0 and Slurm's word had come.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

TOLD = 64
"""The code of ranks that were told to end, and left in order."""
JOB = "%JOB%"
WORD = "CURTAIL_SLURM_WORD"
"""Names, in the ranks' environment, a file that is there once they have been told to end."""


def main(command: list[str]) -> int:
    """Run the command and return the step's exit code."""
    with tempfile.TemporaryDirectory(prefix="curtail-slurm-") as folder:
        word = Path(folder, "told")

        def hear(number: int, frame: FrameType | None) -> None:
            word.touch()

        signal.signal(signal.SIGTERM, hear)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        name = f"{os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        if word.exists():
            return TOLD
        torchrun = subprocess.Popen(
            [part.replace(JOB, name) for part in command], env={**os.environ, WORD: str(word)}
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        code = torchrun.wait()
        if code == 0 and word.exists():
            return TOLD
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
