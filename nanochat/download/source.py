"""What an address stands for: the shards of a manifest, or those that a pattern numbers."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nanochat.download.fetch import Wanted
from nanochat.manifest import MANIFEST, DataProblem, Manifest, Shard, check_splits
from nanochat.settings import require

EXAMPLES = f"https://HOST/DIRECTORY/{MANIFEST} or https://HOST/DIRECTORY/shard_{{:05d}}.parquet"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that can be fetched."""

    name: str
    made_from: str
    """What its manifest calls `source`."""
    url: str
    """Base address of its files."""
    wanted: tuple[Wanted, ...]
    """Its files, in order: those of `train`, then those of `val`."""

    def knowing(self, manifest: Manifest) -> "Source":
        """The same, but its files must be what a manifest of an earlier download from there says."""
        if manifest.url != self.url:
            return self
        held = {shard.file: shard for shard in manifest.shards}
        told = f"{manifest.directory / MANIFEST} of an earlier download, which may be removed,"
        wanted = tuple(_knowing(file, held, told) for file in self.wanted)
        return replace(self, wanted=wanted)


def _knowing(wanted: Wanted, held: Mapping[str, Shard], told: str) -> Wanted:
    if wanted.known is not None or wanted.file not in held:
        return wanted
    return replace(wanted, known=held[wanted.file], known_from=told)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """An address with one place for a number."""

    base: str
    """What stands before the first path segment with the place; ends with a slash."""
    file: str
    """The rest, a format string."""

    def file_of(self, index: int) -> str:
        """Name of a file relative to the base."""
        return self.file.format(index, index=index)


def check_address(address: str) -> None:
    """Raise ValueError for an address that would put a secret into the manifest, or has no name to keep."""
    secret = "@" in address.partition("://")[2].partition("/")[0]
    require(not secret, "--source", address, "without user and password: put them into ~/.netrc")
    require(not set(address) & set("?# "), "--source", address, "an address without blanks, ? and #")


def read_pattern(address: str) -> Pattern | None:
    """The pattern that an address is; None if it has no braces.

    Raises:
        ValueError: It has more than one place, or what stands in it is not for a whole number.
    """
    if "{" not in address and "}" not in address:
        return None
    must = "an address with one place for a number, such as {:05d} or {index:05d}"
    try:
        places = [name for _, name, _, _ in string.Formatter().parse(address) if name is not None]
        require(places in ([""], ["0"], ["index"]), "--source", address, must)
        require(address.format(0, index=0) != address.format(1, index=1), "--source", address, must)
    except (ValueError, LookupError) as error:
        raise ValueError(f"--source is {address!r}; it must be {must}") from error
    head, slash, _ = address.partition("{")[0].rpartition("/")
    base = head + slash
    require(len(base) > len(base.partition("://")[0]) + 3, "--source", address, must)
    return Pattern(base=base, file=address[len(base) :])


def of_pattern(address: str, pattern: Pattern, *, shards: int | None, val_shard: int | None) -> Source:
    """The files 0 to `shards` - 1 to train on, and one that is held out: by default the next.

    Raises:
        ValueError: There is no number of shards, or the held-out one would be trained on.
    """
    if shards is None:
        raise ValueError(
            f"--shards is not given; it must be the number of training shards, since {address} has no end"
        )
    held_out = shards if val_shard is None else val_shard
    must = f"at least {shards}: those before are trained on"
    require(held_out >= shards, "--val-shard", held_out, must)

    def wanted(index: int, split: str) -> Wanted:
        file = pattern.file_of(index)
        Shard(file=file, split=split, rows=0, bytes=0, sha256="0" * 64)  # says what is wrong with the name
        return Wanted(file=file, split=split, address=pattern.base + file, known=None)

    train = [wanted(index, "train") for index in range(shards)]
    return Source(
        name=pattern.base.partition("://")[2].strip("/"),
        made_from=f"{address}, train 0 to {shards - 1}, val {held_out}",
        url=pattern.base,
        wanted=(*train, wanted(held_out, "val")),
    )


def of_manifest(address: str, manifest: Manifest, *, shards: int | None) -> Source:
    """The first `shards` training shards of a manifest, by default all, and its held-out ones, all beside it.

    Raises:
        ValueError: The manifest has fewer, has none of a split, or names a file twice.
    """
    train, val = manifest.of_split("train"), manifest.of_split("val")
    for split, chosen in (("train", train), ("val", val)):
        if not chosen:
            raise DataProblem(f"{address} has no shard of split {split}; it must have one: take another")
    count = len(train) if shards is None else shards
    require(count <= len(train), "--shards", count, f"at most {len(train)}: {address} has no more")
    chosen = (*train[:count], *val)
    if len({shard.file for shard in chosen}) < len(chosen):
        raise DataProblem(f"{address} names a file twice; each must be there once: have it made again")
    check_splits(chosen)
    base = address[: -len(MANIFEST)]
    made_from = manifest.source if count == len(train) else f"{manifest.source}; its first {count} shards"
    return Source(
        name=manifest.name,
        made_from=made_from,
        url=base,
        wanted=tuple(
            Wanted(
                file=shard.file,
                split=shard.split,
                address=base + shard.file,
                known=shard,
                known_from=address,
            )
            for shard in chosen
        ),
    )


def is_manifest_address(address: str) -> bool:
    """Whether an address ends in the name of a manifest."""
    return address.endswith(f"/{MANIFEST}")


def manifest_of(source: Source, directory: Path, shards: tuple[Shard, ...]) -> Manifest:
    """The manifest of what there is of a source, whose files lie in `directory`."""
    return Manifest(
        directory=directory, name=source.name, source=source.made_from, shards=shards, url=source.url
    )
