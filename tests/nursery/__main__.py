"""Starts programs by forking a process in which torch is loaded, so that a start takes no seconds.

Reads a JSON object a line, {"script": FILE, "arguments": [...], "output": STEM, "environment": {...}}, and
answers {"started": PID}; of each that ended it says {"ended": PID, "code": N}, N being negative for a signal.
When its input closes it kills what it started, and ends.
"""

import ctypes
import json
import os
import runpy
import select
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import curtail_dist as cd

POLL_S = 0.01
PDEATHSIG = 1


def load_all() -> None:
    """Do once what takes seconds in a fresh process: torch loads a good deal at its first inner step."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.1).step()
    _ = (cd.Site, cd.DiLoCo)  # public names are loaded at first use
    torch.set_num_threads(1)


def become(order: dict[str, Any]) -> None:
    """Turn this forked process into one that runs the script; does not return."""
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
    os.environ.update(order["environment"])
    for number, path in enumerate([os.devnull, f"{order['output']}.out", f"{order['output']}.err"]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    script = order["script"]
    sys.argv = [script, *order["arguments"]]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
    sys.exit(0)


def say(**facts: int) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


def reap(living: set[int]) -> None:
    while living:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        living.discard(pid)
        say(ended=pid, code=os.waitstatus_to_exitcode(status))


def main() -> None:
    load_all()
    say(ready=os.getpid())
    living: set[int] = set()
    unread = b""
    while True:
        reap(living)
        if not select.select([0], [], [], POLL_S)[0]:
            continue
        read = os.read(0, 65536)
        if not read:
            break
        *lines, unread = (unread + read).split(b"\n")
        for line in lines:
            pid = os.fork()
            if not pid:
                become(json.loads(line))
            living.add(pid)
            say(started=pid)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
