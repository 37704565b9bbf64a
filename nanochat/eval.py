"""Verb: bits per byte of a checkpoint on the held-out split."""

import sys
from pathlib import Path

import torch

from nanochat import checkpoint, shards
from nanochat.dataset import manifest_path
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.model import GPTConfig, build_model
from nanochat.settings import require
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.verb import Parser, run, say


def main(argv: list[str] | None = None) -> None:
    """Parse, evaluate, say the number."""
    parser = Parser("Evaluate a checkpoint.")
    parser.add_argument("--checkpoint", type=Path, default=None, help="by default the newest")
    parser.add_argument("--sequences", type=int, default=256, help="windows to evaluate")
    parser.add_argument("--device-batch-size", type=int, default=32, help="windows of a forward pass")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    args = parser.parse_args(argv)
    require(args.device_batch_size >= 1, "--device-batch-size", args.device_batch_size, "at least 1")
    path = args.checkpoint or checkpoint.newest(args.root)
    if path is None:
        raise ValueError(f"{args.root} has no checkpoint; it must have one: run python -m nanochat.train")
    facts = checkpoint.facts_of(path)
    tokenizer = Tokenizer.load(tokenizer_path(args.root))
    require(tokenizer.hash == facts["tokenizer"], "the tokenizer's hash", tokenizer.hash, facts["tokenizer"])
    config = GPTConfig.from_mapping(facts["model"])
    model = build_model(config)
    checkpoint.restore(path, model)
    model.to(args.device)
    batches = validation_batches(
        shards.read_texts(shards.load(manifest_path(args.root)), "val"),
        tokenizer,
        sequences=args.sequences,
        batch_size=args.device_batch_size,
        sequence_length=config.sequence_length,
        device=args.device,
    )
    bpb = bits_per_byte(model, batches, tokenizer.token_bytes())
    say(f"{path}: step {facts['step']}, val bpb {bpb:.4f}")


if __name__ == "__main__":
    sys.exit(run(main))
