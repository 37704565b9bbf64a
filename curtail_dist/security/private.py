"""Files that hold what nobody else may know: written for their owner alone, read only where that held."""

import os
import stat
from pathlib import Path

from curtail_dist.errors import ConfigError

_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP


def read_private(path: Path, what: str, *, most_bytes: int, do: str, renew: str) -> bytes:
    """Return what a file holds, of a longer one its first `most_bytes` + 1.

    Args:
        path: The file.
        what: Names it for people.
        most_bytes: More than it may hold is not read.
        do: What to do where it cannot be read.
        renew: What to do where somebody may have seen what it holds.

    Raises:
        ConfigError: It cannot be read, or others than its owner and group may read it, or others than its
            owner change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            found = file.read(most_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{what} cannot be read ({error.strerror}); {do}") from error
    if mode & _OTHERS:
        raise ConfigError(
            f"{what} has mode {stat.S_IMODE(mode):04o}: others than its owner may read or change it; "
            f"chmod 600 it, and {renew} if somebody may have seen this one"
        )
    return found


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read. Raises OSError, FileExistsError where there is one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
