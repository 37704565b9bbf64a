"""Where snapshots are kept: a folder of this host, or whatever fsspec opens; named groups of files in either.

A group is there when it has its last file, which is written after all others and removed before them. What
the groups hold is nothing to this file, which therefore needs no torch.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from curtail_dist.errors import ConfigError, CurtailError

Create = Callable[[str], AbstractContextManager[BinaryIO]]
"""Opens a new file of the group under way, to be written from its beginning to its end."""


class Shelf(Protocol):
    """Holds groups of files by name. Every call raises OSError when it cannot be reached or is full."""

    def stored_name(self, file: str) -> str:
        """Return the name under which to create a file other than the last, so that writers do not meet."""
        ...

    def write(self, group: str, last: str, save: Callable[[Create], None]) -> None:
        """Have `save` create all files of a group, `last` as its last one; durable when this returns.

        Leaves a group that has `last` alone. After a failure the group is not there.
        """
        ...

    def open(self, group: str, file: str) -> AbstractContextManager[BinaryIO]:
        """Open a file to read. Raises FileNotFoundError."""
        ...

    def has(self, group: str, file: str) -> bool:
        """Whether a file is there."""
        ...

    def names(self) -> list[str]:
        """Return all names, those of unfinished groups too; none where the place does not exist yet."""
        ...

    def remove(self, group: str, last: str) -> None:
        """Remove what there is of a group, `last` first: half a removal leaves no group."""
        ...


def open_shelf(url: str) -> Shelf:
    """Return the place of a URL or path. Raises ConfigError for one that nothing here can open.

    Only URLs with a scheme other than `file` load fsspec.
    """
    scheme, marker, _ = url.partition("://")
    if not marker:
        return LocalShelf(Path(url))
    if scheme == "file":
        return LocalShelf(Path(unquote(urlsplit(url).path)))
    from fsspec.core import url_to_fs  # here: a plain folder shall not pay for it

    try:
        filesystem, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"state.url is {url!r}; it must be a directory or a URL that fsspec opens: {error}"
        ) from error
    return RemoteShelf(filesystem, root)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LocalShelf:
    """Groups as folders of a directory, each written beside its place and renamed into it."""

    def __init__(self, root: Path) -> None:
        """Keep groups below `root`, which need not exist."""
        self._root = root

    def stored_name(self, file: str) -> str:
        """Return the name itself: writers use folders of their own."""
        return file

    def write(self, group: str, last: str, save: Callable[[Create], None]) -> None:
        """See Shelf."""
        if self.has(group, last):
            sync(self._root)  # whoever put it there may not have come to that yet
            return
        self._root.mkdir(parents=True, exist_ok=True)
        partial = self._root / f".{group}.{secrets.token_hex(4)}"
        partial.mkdir()
        try:
            save(lambda file: _durable(partial / file))
            sync(partial)
            self._move(partial, group, last)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync(self._root)

    def _move(self, partial: Path, group: str, last: str) -> None:
        target = self._root / group
        try:
            partial.rename(target)
        except OSError:
            if self.has(group, last):
                return
            # What stands there lacks its last file: the remains of a removal that was cut short.
            aside = self._root / f".{group}.{secrets.token_hex(4)}"
            target.rename(aside)
            partial.rename(target)
            shutil.rmtree(aside, ignore_errors=True)

    def open(self, group: str, file: str) -> AbstractContextManager[BinaryIO]:
        """See Shelf."""
        try:
            return (self._root / group / file).open("rb")
        except NotADirectoryError as error:
            raise FileNotFoundError(str(error)) from error

    def has(self, group: str, file: str) -> bool:
        """See Shelf."""
        return (self._root / group / file).is_file()

    def names(self) -> list[str]:
        """See Shelf."""
        try:
            return [path.name for path in self._root.iterdir()]
        except FileNotFoundError:
            return []

    def remove(self, group: str, last: str) -> None:
        """See Shelf."""
        path = self._root / group
        with suppress(FileNotFoundError):
            (path / last).unlink(missing_ok=True)
            shutil.rmtree(path)


@contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


class RemoteShelf:
    """Groups as prefixes of an object store, whose objects are whole or not there, but cannot be renamed."""

    def __init__(self, filesystem: Any, root: str) -> None:
        """Keep groups below `root` of an fsspec filesystem."""
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def stored_name(self, file: str) -> str:
        """Return a new name: two writers of a group must not write over each other's files."""
        return f"{secrets.token_hex(4)}.{file}"

    def write(self, group: str, last: str, save: Callable[[Create], None]) -> None:
        """See Shelf."""
        if self.has(group, last):
            return
        created: list[str] = []

        @contextmanager
        def create(file: str) -> Iterator[BinaryIO]:
            path = self._path(group, file)
            if file != last:
                created.append(path)
            with self._opened(path, "wb") as opened:
                yield opened

        with as_os_errors():
            self._filesystem.makedirs(self._path(group), exist_ok=True)
        with as_os_errors(*_OURS):
            try:
                save(create)
            except BaseException:
                for path in created:
                    with suppress(Exception):  # the first failure is the one to tell
                        self._filesystem.rm_file(path)
                raise

    def open(self, group: str, file: str) -> AbstractContextManager[BinaryIO]:
        """See Shelf."""
        return self._opened(self._path(group, file), "rb")

    @contextmanager
    def _opened(self, path: str, mode: str) -> Iterator[BinaryIO]:
        with as_os_errors():
            file = self._filesystem.open(path, mode)
        with as_os_errors(*_OURS), file as opened:
            yield opened

    def has(self, group: str, file: str) -> bool:
        """See Shelf."""
        with as_os_errors():
            try:
                return self._filesystem.info(self._path(group, file))["type"] == "file"
            except FileNotFoundError:
                return False

    def names(self) -> list[str]:
        """See Shelf."""
        with as_os_errors():
            try:
                found = self._filesystem.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def remove(self, group: str, last: str) -> None:
        """See Shelf."""
        with as_os_errors(), suppress(FileNotFoundError):
            with suppress(FileNotFoundError):
                self._filesystem.rm_file(self._path(group, last))
            self._filesystem.rm(self._path(group), recursive=True)

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))


_OURS = (CurtailError, ValueError, KeyError, TypeError)
"""What this package says of a file's contents while it is open."""


@contextmanager
def as_os_errors(*passed: type[Exception]) -> Iterator[None]:
    """Turn what a filesystem of fsspec raises into OSError.

    Each has errors of its own (credentials, endpoints, HTTP answers), and all of them mean that it cannot be
    reached. Where code of this package runs inside, `passed` names what may be its own.
    """
    try:
        yield
    except (OSError, *passed):
        raise
    except Exception as error:
        raise OSError(f"the object store failed: {error!r}") from error
