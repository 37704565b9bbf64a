"""Runs one command and leaves nothing of it behind: `python -m ...leash PARENT_PID FILES COMMAND ...`.

torchrun starts each rank in a session of its own and does not tie it to its own life, so neither a signal to
a process group nor torchrun's death reaches them all. This process adopts every orphan below it, and when the
command has ended, or the parent is gone, it kills what is left. It exits with the command's code (128 + n for
signal n). SIGTERM it passes on; SIGQUIT kills everything. FILES are the numbers of open files, with commas
between them, that it and the command keep open: locks on what they use.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

from curtail_dist.membership.provision.processes import kill_below

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_ORDERLY_S = 45
"""After SIGTERM: longer than the 30 s that torchrun itself gives its ranks."""
_TOLD = "curtail: what runs was told to end, and has: torchrun's SignalException above is no failure"
"""The last line of the log then, which would else end like that of a crash."""


def main(argv: list[str]) -> int:
    """Run the command; pass SIGTERM on, and kill everything if the command has not ended 45 s later."""
    parent, held, command = int(argv[0]), tuple(int(word) for word in argv[1].split(",") if word), argv[2:]
    _tie_to_parent()
    _prctl(_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        return 1
    # The command dies with this process even if that is killed outright.
    child = subprocess.Popen(command, preexec_fn=_tie_to_parent, pass_fds=held)

    told = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True
        child.send_signal(signal.SIGTERM)
        signal.alarm(_ORDERLY_S)

    def give_up(number: int, frame: FrameType | None) -> None:
        kill_below(os.getpid())

    signal.signal(signal.SIGALRM, give_up)
    signal.signal(signal.SIGQUIT, give_up)
    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = child.wait()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(0)
    _sweep()
    if told:
        sys.stderr.write(f"{_TOLD}\n")
    return code if code >= 0 else 128 - code


def _sweep() -> None:
    """Kill and reap all that is left below; children of the killed come to this process and follow them."""
    while True:
        kill_below(os.getpid())
        try:
            os.wait()
        except ChildProcessError:
            return


def _tie_to_parent() -> None:
    _prctl(_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
