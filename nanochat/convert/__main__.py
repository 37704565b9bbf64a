"""Verb: the original nanochat's models become roots, a run's newest model a Hugging Face folder."""

import argparse
import sys
from pathlib import Path

from nanochat import checkpoint
from nanochat.convert.huggingface import write_folder
from nanochat.convert.original import read_original
from nanochat.convert.ranks import read_ranks, tokenizer_of
from nanochat.model import plain
from nanochat.saved import load_newest
from nanochat.settings import require
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.verb import Parser, run, say

FROM_NANOCHAT = "read a .pt of nanochat or of the published prototype"
TO_HUGGINGFACE = "write a folder for transformers"


def from_nanochat(args: argparse.Namespace) -> None:
    """Write a root that `chat`, `eval`, `sft` and `web` read."""
    there = checkpoint.newest(args.root)
    require(there is None, f"{args.root}", f"a root with {there}", "new: choose another --root")
    model = read_original(args.checkpoint, args.meta)
    tokenizer = tokenizer_of(read_ranks(args.tokenizer))
    config = model.config
    fits = tokenizer.vocab_size == config.vocab_size
    words = f"{config.vocab_size}, as the model's"
    require(fits, f"the vocabulary of {args.tokenizer}", tokenizer.vocab_size, words)
    where = tokenizer_path(args.root)
    other = where.exists() and Tokenizer.load(where).hash != tokenizer.hash
    require(not other, str(where), "another tokenizer", f"that of {args.tokenizer}: choose another --root")
    tokenizer.save(where)
    path = checkpoint.checkpoint_path(args.root, 0)
    facts = {"model": plain(config), "tokenizer": tokenizer.hash, "step": 0, "from": args.checkpoint.name}
    checkpoint.save(path, model, {}, facts)
    say(f"{path}: variant {config.variant}, {model.parameter_count():,} parameters")


def to_huggingface(args: argparse.Namespace) -> None:
    """Write a folder that transformers load."""
    saved = load_newest(args.run_dir)
    write_folder(saved, args.out)
    say(f"{args.out}: {saved.path.name}, {saved.model.parameter_count():,} parameters")
    say("load it with AutoModelForCausalLM.from_pretrained(DIRECTORY, trust_remote_code=True)")


def main(argv: list[str] | None = None) -> None:
    """Parse, convert, say what was written."""
    parser = Parser("Convert models from the original nanochat and to Hugging Face's format.", root=False)
    kinds = parser.add_subparsers(required=True, metavar="from-nanochat | to-huggingface")
    reading = kinds.add_parser("from-nanochat", help=FROM_NANOCHAT, description=FROM_NANOCHAT, root=False)
    reading.add_argument(
        "--checkpoint", type=Path, required=True, help="model_*.pt; nothing in it is executed"
    )
    reading.add_argument(
        "--meta", type=Path, default=None, help="by default meta_*.json beside it, if there is one"
    )
    reading.add_argument(
        "--tokenizer",
        type=Path,
        required=True,
        help="tiktoken's ranks; nanochat/convert/ranks.py says how to get them",
    )
    reading.add_argument("--root", type=Path, required=True, help="the new root")
    reading.set_defaults(convert=from_nanochat)
    writing = kinds.add_parser("to-huggingface", help=TO_HUGGINGFACE, description=TO_HUGGINGFACE, root=False)
    writing.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's directory, or a vanilla root")
    writing.add_argument("--out", type=Path, required=True, help="the new folder")
    writing.set_defaults(convert=to_huggingface)
    args = parser.parse_args(argv)
    args.convert(args)


if __name__ == "__main__":
    sys.exit(run(main))
