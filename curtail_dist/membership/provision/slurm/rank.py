"""A rank under Slurm hears SIGTERM from its first moment on: `python -m ...provision.slurm.rank PROGRAM ...`.

It is started with SIGTERM blocked (see `step`). Until the rank program takes the signal itself it has
nothing to lose, and ends in order at once. PROGRAM is a script's path, or -m and a module's name.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

from curtail_dist.membership.provision.slurm.step import WORD

_DIED = 1


def main(argv: list[str]) -> None:
    """Become the rank program; `argv` is its name and its arguments."""
    if Path(os.environ[WORD]).exists():
        # Told before it came, or started by torchrun in place of one that died: no end in order.
        sys.exit(_DIED if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) else 0)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        sys.path[0] = str(Path(argv[0]).resolve().parent)
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
