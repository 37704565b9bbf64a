"""A data set from its address into a directory: what is wanted, fetched, and at last its manifest."""

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanochat.download.fetch import PARTS, Failed, Means, Patience, Wanted, fetch, read_small, writing
from nanochat.download.halt import Halt
from nanochat.download.progress import Meter, display
from nanochat.download.remote import Refused
from nanochat.download.source import (
    EXAMPLES,
    Source,
    check_address,
    is_manifest_address,
    manifest_of,
    of_manifest,
    of_pattern,
    read_pattern,
)
from nanochat.download.workers import in_parallel
from nanochat.files import remove_left_over
from nanochat.manifest import MANIFEST, DataProblem, Shard, check_splits, load, parse, renew
from nanochat.settings import require

MOST_MANIFEST_BYTES = 64 << 20
LOCK = ".download.lock"


def download(
    directory: Path,
    address: str,
    *,
    shards: int | None = None,
    val_shard: int | None = None,
    workers: int = 4,
    patience: Patience | None = None,
) -> Path:
    """Have a data set in a directory; returns the path of its manifest.

    What an earlier call left is gone on with. The manifest is written last: until then the directory has the
    one it had. That of a pattern says what came the first time, and later calls must find the same.

    Args:
        directory: Made if it is missing.
        address: Of a `manifest.json`, beside which its shards lie, or a pattern such as
            `https://host/shard_{:05d}.parquet`.
        shards: Number of training shards, the first ones; a pattern needs it, else all.
        val_shard: Of a pattern: number of the held-out shard; by default the one after the training shards.
        workers: Files fetched at once.
        patience: With connections that fail.

    Raises:
        ValueError: An argument is wrong, there is no such file for us, or what came is not what it must be.
        Failed: The network or the disk failed.
    """
    check_address(address)
    require(shards is None or shards >= 1, "--shards", shards, "at least 1")
    require(workers >= 1, "--workers", workers, "at least 1")
    pattern = read_pattern(address)
    known = pattern is not None or is_manifest_address(address)
    require(known, "--source", address, f"the address of a manifest or of numbered files: {EXAMPLES}")
    require(
        val_shard is None or pattern is not None, "--val-shard", val_shard, "left out: a manifest says it"
    )
    meter, halt = Meter(), Halt()
    means = Means(directory=directory, patience=patience or Patience(), halt=halt, watcher=meter)
    try:
        if pattern is not None:
            source = of_pattern(address, pattern, shards=shards, val_shard=val_shard)
        else:
            content = read_small(address, most_bytes=MOST_MANIFEST_BYTES, means=means)
            manifest = parse(content, where=address, directory=directory)
            source = of_manifest(address, manifest, shards=shards)
        with _alone(directory):
            return _fetch_all(source, means, meter, workers)
    except Refused as error:
        raise DataProblem(str(error)) from error


def _fetch_all(source: Source, means: Means, meter: Meter, workers: int) -> Path:
    drafts = means.directory / PARTS
    for earlier in (means.directory, drafts):
        try:
            source = source.knowing(load(earlier / MANIFEST))
        except DataProblem:
            continue  # none, or of no use: then nothing is known from it
    for directory in {(means.directory / wanted.file).parent for wanted in source.wanted}:
        with writing(directory):
            remove_left_over(directory)
    here: dict[str, Shard] = {}
    measured = {wanted.file: wanted.known for wanted in source.wanted if wanted.known is not None}

    def done(wanted: Wanted, shard: Shard) -> None:
        here[wanted.file] = shard
        meter.finish(wanted.file)
        if wanted.known is None:  # nothing else says what it was when it came, for who goes on
            measured[wanted.file] = shard
            with writing(drafts):
                manifest_of(source, drafts, tuple(measured.values())).save()

    meter.files = len(source.wanted)
    with display(meter) as shown:
        try:
            in_parallel(
                source.wanted,
                lambda wanted: fetch(wanted, means),
                workers=workers,
                halt=means.halt,
                done=done,
                look=lambda: shown.look(time.monotonic()),
            )
        finally:
            shown.look(time.monotonic())
    shards = tuple(here[wanted.file] for wanted in source.wanted)
    check_splits(shards)
    with writing(means.directory):
        path = renew(manifest_of(source, means.directory, shards))
        if drafts.exists():
            shutil.rmtree(drafts)
    return path


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory: of two downloads at once, each would write the other's parts."""
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failed(
                f"another download into {directory} is under way; there must be one: wait for it or end it"
            ) from error
        yield
