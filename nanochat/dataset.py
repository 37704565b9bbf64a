"""Verb: prepare a data set below a root directory, or download it."""

import argparse
import platform
import sys
import sysconfig
from pathlib import Path

from nanochat import corpus, shards
from nanochat.download import Failed, download
from nanochat.settings import require
from nanochat.verb import Parser, run, say

DATA_DIRECTORY = "data"


def manifest_path(root: Path) -> Path:
    """Where a root's data set has its manifest."""
    return root / DATA_DIRECTORY / shards.MANIFEST


def prepare_stdlib(root: Path, *, max_bytes: int, seed: int, stdlib: Path | None = None) -> Path:
    """Prepare the standard library's sources as the data set of `root`; returns the manifest's path.

    A data set that an earlier call made with the same arguments and the same Python is verified and kept; a
    corrupt one is made again.

    Args:
        root: Directory of data and outputs.
        max_bytes: Most UTF-8 bytes of text, both splits together.
        seed: Of the documents' order.
        stdlib: Directory of the sources; by default the standard library of the Python that runs.

    Raises:
        shards.DataProblem: This Python has no sources, `max_bytes` is so small that a split is empty, or
            `root` has linked the data set of a directory.
    """
    require(max_bytes >= 1, "max_bytes", max_bytes, "at least 1")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    library = stdlib or Path(sysconfig.get_path("stdlib"))
    where = python if stdlib is None else str(stdlib)
    source = f"standard library of {where}, max_bytes {max_bytes}, seed {seed}"
    path = manifest_path(root)
    if _is_there(path, source):
        return path
    _check_own(path.parent)
    built = corpus.build(library, max_bytes=max_bytes, seed=seed)
    for split, texts in (("train", built.train), ("val", built.val)):
        if not texts:
            raise shards.DataProblem(
                f"max_bytes is {max_bytes}, which leaves split {split} empty; it must be more: try 100000"
            )
    if built.skipped:
        count = built.files + len(built.skipped)
        say(f"skipped {len(built.skipped)} of {count} files: {', '.join(built.skipped)}")
    texts = {"train": built.train, "val": built.val}
    return shards.write_dataset(path.parent, name="stdlib", source=source, texts=texts)


def _is_there(path: Path, source: str) -> bool:
    try:
        manifest = shards.load(path)
        if manifest.source != source:
            return False
        shards.verify(manifest)
    except shards.DataProblem:
        return False
    return True


def prepare_directory(root: Path, directory: Path) -> Path:
    """Make Parquet files that are there already the data set of `root`; the last one is held out.

    The files stay where they are: the manifest is written beside them; `root` gets a link to the directory.

    Raises:
        shards.DataProblem: There are fewer than two files, one is not readable, a split is empty, or what is
            held out is trained on as well.
    """
    files = sorted(path.name for path in directory.glob("*.parquet"))
    if len(files) < 2:
        raise shards.DataProblem(
            f"{directory} has {len(files)} *.parquet files; it must have two or more: one is held out"
        )
    link = root / DATA_DIRECTORY
    if link.exists() and link.resolve() != directory.resolve():
        raise shards.DataProblem(
            f"{link} exists; it must not, or be a link to {directory}: choose another root"
        )
    splits = {file: "val" if file == files[-1] else "train" for file in files}
    shards.adopt(directory, name=directory.resolve().name, source=str(directory), files=splits)
    if not link.exists():  # last: a directory that was refused leaves no link in the way of the next one
        root.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # leads nowhere
        link.symlink_to(directory.resolve(), target_is_directory=True)
    return manifest_path(root)


def fetch_data(
    root: Path, address: str, *, shards_wanted: int | None, val_shard: int | None, workers: int
) -> Path:
    """Download a data set as that of `root`; returns the manifest's path. See `download`.

    Raises:
        shards.DataProblem: `root` has linked the data set of a directory, or as `download`.
    """
    data = root / DATA_DIRECTORY
    _check_own(data)
    return download(data, address, shards=shards_wanted, val_shard=val_shard, workers=workers)


def _check_own(data: Path) -> None:
    """Raise DataProblem if `data` is a link: what it leads to is somebody's own."""
    if data.is_symlink():
        raise shards.DataProblem(
            f"{data} is a link to {data.resolve()}; it must not be, since what comes would be put there: "
            f"choose another root"
        )


def _parser() -> Parser:
    parser = Parser("Prepare a data set, or download it; an interrupted download goes on where it was.")
    parser.add_argument(
        "--source",
        default="stdlib",
        help="stdlib, a directory of *.parquet with a column text, the address of a manifest.json, or of "
        "numbered files: https://HOST/DIRECTORY/shard_{:05d}.parquet; any scheme that fsspec opens",
    )
    parser.add_argument("--shards", type=int, help="of an address: training shards, the first ones")
    parser.add_argument(
        "--val-shard",
        type=int,
        help="of numbered files: the one that is held out; if not given, the one after the training shards",
    )
    parser.add_argument("--workers", type=int, default=4, help="of an address: files fetched at once")
    parser.add_argument(
        "--max-bytes", type=int, default=8_000_000, help="of stdlib: most UTF-8 bytes of text"
    )
    parser.add_argument("--seed", type=int, default=1, help="of stdlib: order of the documents")
    return parser


def _prepare(args: argparse.Namespace) -> Path:
    if "://" in args.source:
        return fetch_data(
            args.root,
            args.source,
            shards_wanted=args.shards,
            val_shard=args.val_shard,
            workers=args.workers,
        )
    for option, given in (("--shards", args.shards), ("--val-shard", args.val_shard)):
        require(given is None, option, given, f"left out: {args.source} is not an address")
    if args.source == "stdlib":
        return prepare_stdlib(args.root, max_bytes=args.max_bytes, seed=args.seed)
    if Path(args.source).is_dir():
        return prepare_directory(args.root, Path(args.source))
    raise ValueError(
        f"source is {args.source!r}; it must be stdlib, a directory of *.parquet files, or an address: "
        f"https://.../manifest.json or https://.../shard_{{:05d}}.parquet"
    )


def main(argv: list[str] | None = None) -> None:
    """Parse, prepare, say where the manifest is; exit code 1 where the network or the disk failed."""
    try:
        path = _prepare(_parser().parse_args(argv))
    except Failed as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error
    manifest = shards.load(path)
    for split in shards.SPLITS:
        chosen = manifest.of_split(split)
        rows, length = sum(shard.rows for shard in chosen), sum(shard.bytes for shard in chosen)
        say(f"{split}: {len(chosen)} shards, {rows} rows, {length} bytes")
    say(f"manifest: {path} ({manifest.hash[:12]})")


if __name__ == "__main__":
    sys.exit(run(main))
