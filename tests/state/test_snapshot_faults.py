import errno
import os
import shutil
import signal

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from states import Files, make, numbers

from curtail_dist.errors import SnapshotCorrupt, SnapshotMissing
from curtail_dist.state import snapshot
from curtail_dist.state.version import Version

VERSION, COMMIT = make(7)


class Failing(MemoryFileSystem):
    """An object store whose connection goes at a file of a given name."""

    protocol = "failing"
    store = {}  # noqa: RUF012 - fsspec's own way
    pseudo_dirs = [""]  # noqa: RUF012
    at = ""
    error: type[Exception] = RuntimeError
    cut = False

    def _open(self, path, mode="rb", **options):
        if self.at and path.endswith(self.at):
            raise self.error("no route to the object store")
        return super()._open(path, mode, **options)

    def _reach(self):
        if self.cut:
            raise self.error("no route to the object store")

    def info(self, path, **options):
        self._reach()
        return super().info(path, **options)

    def ls(self, path, *args, **options):
        self._reach()
        return super().ls(path, *args, **options)

    def rm_file(self, path):
        self._reach()
        return super().rm_file(path)


@pytest.fixture
def failing(monkeypatch):
    fsspec.register_implementation("failing", Failing, clobber=True)
    monkeypatch.setattr(Failing, "store", {})
    monkeypatch.setattr(Failing, "pseudo_dirs", [""])
    return "failing://bucket/run"


@pytest.mark.parametrize("at", ["model.safetensors", "outer.safetensors", "ledger.json", "manifest.json"])
@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, KeyError])
def test_an_upload_that_breaks_off_leaves_no_snapshot_and_no_objects(failing, monkeypatch, at, error):
    monkeypatch.setattr(Failing, "at", at)
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(OSError, match="no route"):
        snapshot.write(failing, VERSION, COMMIT)
    assert Failing.store == {}
    monkeypatch.setattr(Failing, "at", "")
    with pytest.raises(SnapshotMissing):
        snapshot.read(failing, 7, VERSION.hash)
    snapshot.write(failing, VERSION, COMMIT)
    assert snapshot.read(failing, 7, VERSION.hash).commit == COMMIT


def test_a_second_writer_that_breaks_off_does_the_first_no_harm(failing, monkeypatch):
    snapshot.write(failing, VERSION, COMMIT)
    first = Files(failing, VERSION)
    manifest = first.read("manifest.json")
    first.fs.rm_file(first.path("manifest.json"))  # the second began before it was there
    monkeypatch.setattr(Failing, "at", "manifest.json")
    with pytest.raises(OSError, match="no route"):
        snapshot.write(failing, VERSION, COMMIT)
    monkeypatch.setattr(Failing, "at", "")
    first.fs.pipe_file(f"{first.folder}/manifest.json", manifest)
    assert snapshot.read(failing, 7, VERSION.hash).commit == COMMIT


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, KeyError])
@pytest.mark.parametrize(
    "call",
    [
        lambda url: snapshot.readable(url, 7, VERSION.hash),
        lambda url: snapshot.newest(url),
        lambda url: snapshot.prune(url, committed=9, keep=2),
        lambda url: snapshot.write(url, VERSION, COMMIT),
    ],
)
def test_whatever_a_store_out_of_reach_raises_is_an_error_of_the_system(failing, monkeypatch, call, error):
    snapshot.write(failing, VERSION, COMMIT)
    monkeypatch.setattr(Failing, "error", error)
    monkeypatch.setattr(Failing, "cut", True)
    with pytest.raises(OSError, match="no route"):
        call(failing)
    monkeypatch.setattr(Failing, "cut", False)
    assert snapshot.read(failing, 7, VERSION.hash).commit == COMMIT


@pytest.mark.parametrize("at", ["model.safetensors", "manifest.json"])
@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, KeyError])
def test_a_store_that_cannot_be_reached_is_not_taken_for_corrupt(failing, monkeypatch, at, error):
    snapshot.write(failing, VERSION, COMMIT)
    monkeypatch.setattr(Failing, "at", at)
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(SnapshotMissing, match="cannot be reached"):
        snapshot.read(failing, 7, VERSION.hash)
    with pytest.raises(OSError, match="no route"):
        snapshot.write(failing, VERSION, COMMIT)
    monkeypatch.setattr(Failing, "at", "")
    assert snapshot.read(failing, 7, VERSION.hash).commit == COMMIT


def test_a_bad_sector_is_corruption(failing, monkeypatch):
    snapshot.write(failing, VERSION, COMMIT)
    monkeypatch.setattr(Failing, "at", "model.safetensors")
    monkeypatch.setattr(Failing, "error", staticmethod(lambda text: OSError(errno.EIO, text)))
    with pytest.raises(SnapshotCorrupt, match="cannot be read"):
        snapshot.read(failing, 7, VERSION.hash)


class DyingTensors(dict):
    """Tensors of a process that is killed as it writes the second file of a snapshot."""

    reads = 0

    def items(self):
        self.reads += 1
        if self.reads == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().items()


@pytest.mark.parametrize("where", ["path", "object store"])
def test_a_writer_that_is_killed_leaves_nothing_that_counts(tmp_path, where):
    url = str(tmp_path / "run")
    if where != "path":
        fsspec.register_implementation("objects", Objects, clobber=True)
        url = f"objects://{tmp_path}/run"
    writer = os.fork()
    if writer == 0:
        try:
            snapshot.write(url, Version(number=7, tensors=DyingTensors(VERSION.tensors)), COMMIT)
        finally:
            os._exit(0)
    assert os.waitpid(writer, 0)[1] == signal.SIGKILL
    assert list((tmp_path / "run").rglob("*model.safetensors")), "it was killed in mid-write"
    assert not snapshot.readable(url, 7, VERSION.hash)
    assert snapshot.newest(url) is None
    with pytest.raises(SnapshotMissing):
        snapshot.read(url, 7, VERSION.hash)
    snapshot.write(url, VERSION, COMMIT)
    assert snapshot.read(url, 7, VERSION.hash).commit == COMMIT
    snapshot.prune(url, committed=9, keep=2)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_snapshot_that_was_not_put_in_its_place_does_not_count_even_if_it_is_whole(tmp_path):
    snapshot.write(str(tmp_path), VERSION, COMMIT)
    place = tmp_path / snapshot.name(7, VERSION.hash)
    place.rename(tmp_path / f".{place.name}.abcdef01")
    assert snapshot.newest(str(tmp_path)) is None
    assert not snapshot.readable(str(tmp_path), 7, VERSION.hash)


class Objects(LocalFileSystem):
    """Objects that outlive the process that put them: files below a local folder."""

    protocol = "objects"


@pytest.mark.parametrize("name", ["model.safetensors", "ledger.json", "manifest.json"])
def test_a_corrupt_snapshot_is_no_obstacle_to_writing_it_again(url, caplog, name):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    files.write(name, files.read(name)[:-5])
    snapshot.write(url, VERSION, COMMIT)
    assert snapshot.read(url, 7, VERSION.hash).commit == COMMIT
    assert "it is written anew" in caplog.text


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    class Full(dict):
        """Tensors that do not fit: the disk is full as the second file is written."""

        reads = 0

        def items(self):
            self.reads += 1
            if self.reads == 2:
                raise OSError(errno.ENOSPC, "no space left on device")
            return super().items()

    with pytest.raises(OSError, match="no space"):
        snapshot.write(str(tmp_path), Version(number=7, tensors=Full(VERSION.tensors)), COMMIT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["path", "object store"])
def test_half_a_removal_leaves_no_snapshot(tmp_path, failing, monkeypatch, where):
    def cut_short(*_args, **_options):
        raise OSError("killed")

    url = str(tmp_path) if where == "path" else failing
    snapshot.write(url, VERSION, COMMIT)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", cut_short)
        patched.setattr(Failing, "rm", cut_short)
        with pytest.raises(OSError, match="killed"):
            snapshot.prune(url, committed=9, keep=2)
    assert not snapshot.readable(url, 7, VERSION.hash)
    with pytest.raises(SnapshotMissing):
        snapshot.read(url, 7, VERSION.hash)
    snapshot.prune(url, committed=9, keep=2)
    assert numbers(url) == []
