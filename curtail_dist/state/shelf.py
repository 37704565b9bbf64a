"""Where folders of files are put whole: a local directory, or below a URL that fsspec opens."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol


class Shelf(Protocol):
    """Holds folders by name. A folder is there with all its files, or does not count."""

    def names(self) -> list[str]:
        """Return what stands on it, half-written folders too."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether a file is there, by FOLDER/FILE."""
        ...

    def placing(self, name: str, *, last: str) -> AbstractContextManager[Path]:
        """Give a local folder to fill; at the context's end it is put in place, durably, as `name`.

        The file `last` appears after all others. A folder that others put there meanwhile is left alone.
        Raises OSError; nothing is in place then.
        """
        ...

    def fetched(self, name: str, files: Sequence[str]) -> AbstractContextManager[Path]:
        """Give a local folder with these files of `name`, to be read while the context is open."""
        ...

    def remove(self, name: str) -> None:
        """Delete a folder; what cannot be deleted is left."""
        ...


def open_shelf(url: str) -> Shelf:
    """Return the shelf at a path or URL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return LocalShelf(Path(url))
    return LocalShelf(Path(rest)) if scheme == "file" else RemoteShelf(url)


class LocalShelf:
    """A directory of this machine or a mounted one, in which renaming is atomic."""

    def __init__(self, root: Path) -> None:
        """Put folders below `root`, which is made at the first."""
        self._root = root

    def names(self) -> list[str]:
        """Return what stands there."""
        return [path.name for path in self._root.iterdir()] if self._root.is_dir() else []

    def exists(self, path: str) -> bool:
        """Return whether a file is there."""
        return (self._root / path).is_file()

    @contextmanager
    def placing(self, name: str, *, last: str) -> Generator[Path]:
        """Fill a folder beside its place, bring it to the disk, rename it."""
        del last  # a rename shows all files at once
        self._root.mkdir(parents=True, exist_ok=True)
        target, partial = self._root / name, self._root / f".{name}.{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            yield partial
            for path in (*partial.iterdir(), partial):
                _sync(path)
            _rename(partial, target)
            _sync(self._root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def fetched(self, name: str, files: Sequence[str]) -> Generator[Path]:
        """Give the folder itself."""
        del files
        yield self._root / name

    def remove(self, name: str) -> None:
        """Delete a folder, out of sight first, so that nobody finds half of it."""
        grave = self._root / f".{name.removeprefix('.')}.{uuid.uuid4().hex}"
        try:
            (self._root / name).rename(grave)
        except OSError:
            return
        shutil.rmtree(grave, ignore_errors=True)


class RemoteShelf:
    """An object store, through fsspec: single files appear whole, folders do not."""

    def __init__(self, url: str) -> None:
        """Put folders below `url`. Raises ImportError, which names the missing package, for some schemes."""
        import fsspec

        self._files, self._root = fsspec.core.url_to_fs(url)

    def names(self) -> list[str]:
        """Return what stands there."""
        self._files.invalidate_cache()
        try:
            found: list[Any] = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rstrip("/").rpartition("/")[2] for path in found]

    def exists(self, path: str) -> bool:
        """Return whether an object is there."""
        self._files.invalidate_cache()
        return bool(self._files.isfile(f"{self._root}/{path}"))

    @contextmanager
    def placing(self, name: str, *, last: str) -> Generator[Path]:
        """Fill a local folder, then send its files, `last` at the end."""
        with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
            yield Path(folder)
            files = sorted(Path(folder).iterdir(), key=lambda path: path.name == last)
            self._files.makedirs(f"{self._root}/{name}", exist_ok=True)
            for path in files:
                self._files.put_file(str(path), f"{self._root}/{name}/{path.name}")

    @contextmanager
    def fetched(self, name: str, files: Sequence[str]) -> Generator[Path]:
        """Get the files into a local folder."""
        with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
            for file in files:
                self._files.get_file(f"{self._root}/{name}/{file}", f"{folder}/{file}")
            yield Path(folder)

    def remove(self, name: str) -> None:
        """Delete a folder's objects."""
        try:
            self._files.rm(f"{self._root}/{name}", recursive=True)
        except OSError:
            return


def _rename(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.exists():
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
