"""Finding and killing the processes below a process, by /proc (Linux)."""

import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def children(pid: int) -> tuple[int, ...]:
    """Return the pids of the living and the unreaped children of `pid`, ascending; none where it is gone."""
    found: set[int] = set()
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found.update(int(word) for word in (thread / "children").read_text().split())
    except OSError:
        pass  # The process, or one of its threads, ended meanwhile: what was found stands.
    return tuple(sorted(found))


def descendants(pid: int) -> tuple[int, ...]:
    """Return all processes below `pid`, parents before children."""
    below: list[int] = []
    for child in children(pid):
        below += (child, *descendants(child))
    return tuple(below)


def ranks_below(pid: int) -> tuple[int, ...]:
    """Return the ranks of the torchrun that `pid` is or started, without the ranks' own helpers."""
    launchers = (pid, *children(pid))
    return tuple(sorted(rank for one in launchers for rank in children(one) if _is_rank(rank)))


def kill_below(pid: int) -> None:
    """Send SIGKILL to every process below `pid`, but not to `pid` itself."""
    for one in descendants(pid):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _is_rank(pid: int) -> bool:
    """Whether torchrun started this process as a rank, told by what it put into the environment."""
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(one.startswith(b"LOCAL_RANK=") for one in variables)
