"""Verb: train the tokenizer of a root directory on its data set."""

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from nanochat import checkpoint, shards
from nanochat.dataset import manifest_path
from nanochat.files import write_text
from nanochat.settings import require
from nanochat.tokenizer import Tokenizer, train_tokenizer
from nanochat.verb import Parser, run, say


def tokenizer_path(root: Path) -> Path:
    """Where a root has its tokenizer."""
    return root / "tokenizer" / "tokenizer.json"


def train_tokenizer_to(root: Path, *, vocab_size: int, max_chars: int, doc_cap: int) -> Path:
    """Train a tokenizer on the training split of the root's data set; returns its path.

    One that an earlier call made with the same arguments from the same data is kept. The manifest says which
    one it is; where it cannot be written, as on a read-only disk, a line says so.

    Raises:
        ValueError: An argument is out of range, there is no data set, or the root's checkpoints or a
            run that is under way there need the tokenizer that is there.
    """
    manifest = shards.load(manifest_path(root))
    path = tokenizer_path(root)
    made_from = path.with_name("made_from.json")
    wanted = {"data": manifest.hash, "vocab_size": vocab_size, "max_chars": max_chars, "doc_cap": doc_cap}
    if _is_there(path, made_from, wanted):
        note_in(manifest, path)
        return path
    # A run that is under way needs what is there too, though it may have no checkpoint yet.
    with checkpoint.alone(root, new=False) if path.exists() else nullcontext():
        trained = checkpoint.newest(root)
        must = "no run's with this tokenizer, which another would replace: give another --root"
        require(trained is None or not path.exists(), "the newest checkpoint", str(trained), must)
        texts = shards.read_texts(manifest, "train")
        tokenizer = train_tokenizer(texts, vocab_size=vocab_size, doc_cap=doc_cap, max_chars=max_chars)
        tokenizer.save(path)
        write_text(made_from, json.dumps({**wanted, "hash": tokenizer.hash}, indent=1) + "\n")
    note_in(manifest, path)
    return path


def note_in(manifest: shards.Manifest, path: Path) -> None:
    """Have the data set's manifest name the tokenizer at `path`, unless it does already."""
    # Resolved, since a root's data may be a link: what is relative to the link is not relative to the file.
    file = os.path.relpath(path.resolve(), manifest.directory.resolve())
    note = shards.TokenizerFile(file=file, sha256=shards.sha256_of(path))
    if manifest.tokenizer == note:
        return
    try:
        replace(manifest, tokenizer=note).save()
    except OSError as error:
        say(f"the manifest in {manifest.directory} does not name the tokenizer ({error.strerror})")


def _is_there(path: Path, made_from: Path, wanted: dict[str, object]) -> bool:
    try:
        recorded = json.loads(made_from.read_text(encoding="utf-8"))
        return recorded == {**wanted, "hash": Tokenizer.load(path).hash}
    except (OSError, ValueError):
        return False


def main(argv: list[str] | None = None) -> None:
    """Parse, train, say where the tokenizer is."""
    parser = Parser("Train the tokenizer.")
    parser.add_argument("--vocab-size", type=int, default=65_536, help="tokens, special ones included")
    parser.add_argument("--max-chars", type=int, default=2_000_000_000, help="characters to train on, in all")
    parser.add_argument("--doc-cap", type=int, default=10_000, help="characters of one document, at most")
    args = parser.parse_args(argv)
    path = train_tokenizer_to(
        args.root, vocab_size=args.vocab_size, max_chars=args.max_chars, doc_cap=args.doc_cap
    )
    tokenizer = Tokenizer.load(path)
    say(f"tokenizer: {path}, {tokenizer.vocab_size} tokens ({tokenizer.hash[:12]})")


if __name__ == "__main__":
    sys.exit(run(main))
