"""Which of a machine's GPUs are taken, among all sites that share them: a lock on a file for each.

A lock belongs to the open file. It ends when the last process that has it open is gone, however that ended:
nobody cleans up, and nobody can forget to.
"""

import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curtail_dist.errors import ProvisionError

_GATE_S = 1.0
_LOOK_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Slots that were taken. They stay taken as long as any process has one of the open files."""

    numbers: tuple[int, ...]
    """Of the GPUs, ascending."""
    files: tuple[int, ...]
    """Descriptors of the open lock files."""

    def close(self) -> None:
        """Close this process's own descriptors; call it once."""
        for file in self.files:
            os.close(file)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Too few slots were free."""

    reason: str


class Slots:
    """The GPU slots of one machine that one site may use. Owns nothing between two calls."""

    def __init__(self, numbers: Sequence[int], directory: Path | None = None) -> None:
        """Look for locks in `directory`; without one, in this user's own."""
        self._numbers = tuple(sorted(numbers))
        self._directory = directory

    def take(self, wanted: int) -> Taken | Refused:
        """Take `wanted` free slots, the lowest ones, or none. Does not wait for slots.

        Raises ProvisionError where the locks cannot be reached, or belong to somebody else.
        """
        directory = own_directory() if self._directory is None else self._directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner(directory)
            gate = _open(directory / "gate.lock")
            try:
                return self._choose(directory, gate, wanted)
            finally:
                os.close(gate)
        except OSError as error:
            raise ProvisionError(
                f"GPU slots cannot be taken in {directory} ({error.strerror}); it must be a directory that "
                "this user can write: set provisioner.slots_directory"
            ) from error

    def _choose(self, directory: Path, gate: int, wanted: int) -> Taken | Refused:
        """Lock what is free, one site at a time: so that no two sites keep half of what each wants."""
        deadline = time.monotonic() + _GATE_S
        while not _lock(gate):
            if time.monotonic() > deadline:
                return Refused(reason="another site is choosing its GPU slots")
            time.sleep(_LOOK_S)
        free = dict[int, int]()
        try:
            for number in self._numbers:
                file = _open(directory / f"gpu-{number}.lock")
                if _lock(file):
                    free[number] = file
                else:
                    os.close(file)
            chosen = list(free)[:wanted] if len(free) >= wanted else []
            count = len(free)
            taken = tuple(free.pop(number) for number in chosen)
        finally:
            for file in free.values():
                os.close(file)
        if not taken:
            reason = f"no free GPU slot: {wanted} wanted, {count} of {len(self._numbers)} free"
            return Refused(reason=reason)
        return Taken(numbers=tuple(chosen), files=taken)

    def _check_owner(self, directory: Path) -> None:
        """Refuse a default directory that somebody else has put there: they could lock every slot."""
        if self._directory is None and directory.lstat().st_uid != os.getuid():
            raise ProvisionError(
                f"{directory}, where GPU slots are locked, belongs to another user; it must be this user's: "
                "remove it, or set provisioner.slots_directory"
            )


def own_directory() -> Path:
    """Return where this user's locks are, unless the run file says otherwise."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "curtail-slots" if runtime else Path(f"/tmp/curtail-{os.getuid()}")


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
