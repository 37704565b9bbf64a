"""Writing files that are whole or absent, never half there."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is made durable and takes `path`'s place at once.

    On failure `path` is as it was and the temporary file is gone. Of two writers at once the last wins.
    What the disk says while it is written is an OSError that names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise _of_the_disk(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
