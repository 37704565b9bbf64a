"""Versions, their records and their files, for tests of what is kept and handed over."""

import fsspec
import torch

from curtail_dist.membership.records import Commit, Work
from curtail_dist.state import snapshot
from curtail_dist.state.version import Version


def make(number, *, seed=0, epoch=3):
    """Return a version and its commit."""
    generator = torch.Generator().manual_seed(1000 * seed + number)
    tensors = {
        "parameter/w": torch.randn(3, 5, generator=generator),
        "parameter/b": torch.randn(3, generator=generator),
        "outer/w/momentum_buffer": torch.randn(3, 5, generator=generator),
    }
    version = Version(number=number, tensors=tensors)
    return version, commit_of(version, epoch=epoch)


def commit_of(version, *, epoch=3):
    """Return a record with something in every field."""
    return Commit(
        version=version.number,
        hash=version.hash,
        parent="0" * 64,
        epoch=epoch,
        total_rows=90,
        done=((0, 5), (7, 9)),
        open=((6, 11),),
        tokens=1234,
        steps=9,
        work=(Work(site="a", tokens=1234, steps=9, rows=((7, 9),), open=((6, 11),)),),
        joiners=("b",),
        speeds={"a": 1.5, "b": 0.1},
    )


class Files:
    """The files of a snapshot, to be broken, wherever they are."""

    def __init__(self, url, version):
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.folder = f"{self.root}/{snapshot.name(version.number, version.hash)}"

    def path(self, file):
        return next(path for path in self.fs.ls(self.folder, detail=False) if path.endswith(file))

    def read(self, file):
        return self.fs.cat_file(self.path(file))

    def write(self, file, content):
        self.fs.pipe_file(self.path(file), content)


def numbers(url):
    """Return the version numbers of all that lies below a URL, half-written things too."""
    fs, root = fsspec.core.url_to_fs(url)
    if not fs.exists(root):
        return []
    return sorted(path.rpartition("/")[2].lstrip(".")[:6] for path in fs.ls(root, detail=False))
