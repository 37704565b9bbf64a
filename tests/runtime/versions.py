"""Versions with their records, the store that knows them, and a disk that can be full or held up."""

import threading

import fsspec
import torch
from fsspec.implementations.memory import MemoryFileSystem

from curtail_dist.coordination.memory import MemoryStore
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Work
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state.version import Version
from curtail_dist.telemetry.record import EventLog

KEYS = Keys("r")
IDENTITY = {"model": "abc", "seed": "1"}
WAIT_S = 20.0


def make(number, *, seed=0):
    """Return a version and its commit."""
    generator = torch.Generator().manual_seed(1000 * seed + number)
    return with_record(
        Version(number=number, tensors={"parameter/w": torch.randn(3, 5, generator=generator)})
    )


def with_record(version):
    """Return a version and a commit of it."""
    work = Work(site="a", tokens=1234, steps=9, rows=((7, 9),), open=((6, 11),))
    return version, Commit(
        version=version.number, hash=version.hash, parent="0" * 64, epoch=3, total_rows=90, work=(work,)
    )


class Disk(MemoryFileSystem):
    """An object store that can be full, and can be held up."""

    protocol = "disk"
    store = {}  # noqa: RUF012 - fsspec's own way
    pseudo_dirs = [""]  # noqa: RUF012
    full = False
    opened = 0
    reached = threading.Event()
    go_on = threading.Event()

    def _open(self, path, mode="rb", **options):
        type(self).opened += 1
        if mode == "wb":
            self.reached.set()
            assert self.go_on.wait(WAIT_S)
            if self.full:
                raise OSError("no space left on device")
        return super()._open(path, mode, **options)


class Still:
    """A clock on which no time passes."""

    def now(self):
        return 0.0


class Setting:
    """A run's store and one process's keeper."""

    def __init__(self, url, folder, *, keep=2):
        self.url = url
        self.folder = folder
        self.store = MemoryStore()
        self.board = Board(self.store, KEYS)
        self.events = EventLog(folder, site="a", process="p", clock=Still())
        self.keeper = self.another_keeper(keep=keep)
        self.board.start()
        self.keeper.start()

    def another_keeper(self, *, run="r", keep=2, store=None):
        store = store or self.store
        return SnapshotKeeper(
            self.url, run=run, keep=keep, identity=IDENTITY, store=store, board=self.board, events=self.events
        )

    def commit(self, number, *, seed=0):
        version, record = make(number, seed=seed)
        self.store.put(KEYS.head, record.encode())
        self.board.wait(lambda view: view.head == record or None, timeout=WAIT_S)
        return version, record

    def holders(self):
        return {
            int(one.key.removeprefix(KEYS.holders)): one.value
            for one in self.store.list(KEYS.holders).entries
        }

    def kept(self):
        fs, root = fsspec.core.url_to_fs(self.url)
        names = (path.rpartition("/")[2] for path in fs.ls(root, detail=False))
        return sorted(name for name in names if name != "run")

    def close(self):
        self.keeper.close()
        self.board.close()
        self.events.close()
        self.store.close()
