"""Writing files that are whole or absent, never half there."""

import errno
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

_LEFT_OVER = re.compile(r"\..+\.[0-9a-f]{8}|\.tmp\w{6}")
"""Temporary files of `replacing`, and those that safetensors makes beside what it writes."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is made durable and takes `path`'s place at once.

    On failure `path` is as it was and the temporary file is gone. Of two writers at once the last wins.
    Who may read the file follows from the umask, whatever wrote it: safetensors would let its owner alone.
    What the disk says while it is written is an OSError that names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise _of_the_disk(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_over(directory: Path) -> None:
    """Remove what `replacing` left in a directory as its process was killed; nobody may write there now."""
    if directory.is_dir():
        for path in directory.iterdir():
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def as_json(value: Any) -> Any:
    """The same with null for each float that is no number or infinite, as of a model that diverged.

    JSON has none of these, and strict readers refuse a file that has one.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value


def _of_the_disk(error: OSError | SafetensorError, path: Path) -> OSError:
    """The same of a file that has a name: a write tells none, and safetensors' own error no number."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), str(path))
    number = re.search(r"\(os error (\d+)\)", str(error))
    return (
        OSError(errno.EIO, str(error), str(path))
        if number is None
        else OSError(int(number[1]), os.strerror(int(number[1])), str(path))
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
