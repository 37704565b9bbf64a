"""Where the ranks of one host meet without opening a port: a store in a file that only its user can reach."""

import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import FileStore, Store

from nanochat.settings import require

DEADLINE_S = 600.0
"""How long a rank waits for rank 0, and then for what the others put into the store."""
_LOOK_S = 0.02


@contextmanager
def meeting_place(rank: int, count: int, *, deadline_s: float = DEADLINE_S) -> Iterator[Store]:
    """Be where this host's `count` ranks of one torchrun meet, until the block ends; the store outlives it.

    Rank 0 makes a new store each time, and a sign that names it, which it holds locked until the block ends:
    a sign that nobody holds is that of ranks which died, and is passed over. So no two starts of the ranks
    share a store, whatever the starts before left behind. torchrun ends all ranks of a host before it starts
    others. Rank 0 leaves the block when all others have come.

    Raises:
        TimeoutError: Rank 0 has not come in time.
        ValueError: Somebody else's directory is in the way.
    """
    sign = _private_directory() / _name()
    if rank:
        store = _store(_read(sign, time.monotonic() + deadline_s), count, deadline_s)
        store.set(f"here/{rank}", "")
        yield store
        return
    for left in sign.parent.glob(f"{sign.name}.*"):
        left.unlink(missing_ok=True)
    place = sign.with_name(f"{sign.name}.{secrets.token_hex(8)}")
    with _locked(sign, str(place)):
        store = _store(place, count, deadline_s)
        yield store
        store.wait([f"here/{other}" for other in range(1, count)])


def _store(place: Path, count: int, deadline_s: float) -> Store:
    store = FileStore(str(place), count)
    store.set_timeout(timedelta(seconds=deadline_s))
    return store


def _name() -> str:
    """A name for this torchrun among those of the host."""
    what = [os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")]
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]


def _private_directory() -> Path:
    """A directory of this user's alone."""
    path = Path(tempfile.gettempdir()) / f"nanochat-ranks-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    whose = f"{stat.filemode(found.st_mode)} of user {found.st_uid}"
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    require(own, str(path), whose, f"a directory of user {os.getuid()} alone: remove it, or set TMPDIR")
    return path


@contextmanager
def _locked(sign: Path, text: str) -> Iterator[None]:
    """Put the sign up, whole and locked; take it down at the end."""
    whole = sign.with_name(f".{sign.name}.{secrets.token_hex(8)}")
    with whole.open("x", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text)
        file.flush()
        whole.replace(sign)
        try:
            yield
        finally:
            sign.unlink(missing_ok=True)


def _read(sign: Path, deadline: float) -> Path:
    """What the sign says that somebody holds. Raises TimeoutError."""
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError), sign.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Path(file.read())
        time.sleep(_LOOK_S)
    raise TimeoutError(f"rank 0 has not put up {sign}; it must run on this host: look at its log")
