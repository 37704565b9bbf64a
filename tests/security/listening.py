"""What a process listens on, and what it takes of its host, as the kernel says it."""

import os
from pathlib import Path

_LISTENS = "0A"


def ports(pid):
    """Return every TCP port that a process listens on."""
    mine = {_target(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS and f"socket:[{inode}]" in mine:
                found.add(int(local.rpartition(":")[2], 16))
    return found


def _target(entry):
    try:
        return os.readlink(entry)  # noqa: PTH115 - it names no path
    except FileNotFoundError:
        return ""


def status(pid, key):
    """Return a number of /proc/PID/status: `Threads`, or `VmRSS` in kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def descriptors(pid):
    """Return how many files and sockets it has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
