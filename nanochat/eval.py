"""Verb: a model on the held-out split, on CORE, and on questions to a chat model."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nanochat import shards
from nanochat.arguments import add_device, add_out, check_device, check_out, option
from nanochat.chat_eval import check_questions, evaluate_chat
from nanochat.core import Task, TaskScore, evaluate_core, read_bundle
from nanochat.dataset import manifest_path
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.examples import Example, read_examples
from nanochat.files import as_json, write_text
from nanochat.saved import Saved, load_checkpoint, load_newest
from nanochat.settings import require
from nanochat.verb import Parser, run, say


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read and check the arguments."""
    parser = Parser("Evaluate a model: bits per byte, and CORE and questions if they are given.")
    parser.add_argument("--checkpoint", type=Path, default=None, help="by default the newest of --from")
    parser.add_argument(
        "--from", dest="source", type=Path, default=None, help="a run or root with the model; by default ROOT"
    )
    parser.add_argument("--sequences", type=int, default=256, help="windows of the held-out split")
    parser.add_argument("--device-batch-size", type=int, default=32, help="windows of a forward pass")
    parser.add_argument("--core", type=Path, default=None, help="directory of a CORE bundle")
    parser.add_argument("--max-per-task", type=int, default=None, help="items of a task of CORE, at most")
    parser.add_argument(
        "--chat", type=Path, nargs="+", default=[], help="files of questions; see nanochat/examples.py"
    )
    parser.add_argument("--max-tokens", type=int, default=256, help="of the answer to an open question")
    add_out(parser)
    add_device(parser)
    args = parser.parse_args(argv)
    for name in ("sequences", "device_batch_size", "max_per_task", "max_tokens"):
        value = getattr(args, name)
        require(value is None or value >= 1, option(name), value, "at least 1")
    check_device(args)
    check_out(args)
    return args


def main(argv: list[str] | None = None) -> None:
    """Parse, read all that is asked for, evaluate, say and keep each number as it comes."""
    args = parse(argv)
    tasks = [] if args.core is None else read_bundle(args.core)
    questions = {path: list(read_examples(path)) for path in args.chat}
    saved = (
        load_checkpoint(args.source or args.root, args.checkpoint)
        if args.checkpoint
        else load_newest(args.source or args.root)
    )
    for path, examples in questions.items():
        _check(saved, path, examples)
    saved.model.to(args.device)
    figures = _Figures(args.out, {"model": str(saved.path)})
    if manifest_path(args.root).exists() or not (args.core or args.chat):
        figures.add(val_bpb=_held_out(args, saved))
    if tasks:
        _core(args, saved, tasks, figures)
    asked: dict[str, Any] = {}
    for path, examples in questions.items():
        asked[str(path)] = _chat(args, saved, path, examples)
        figures.add(chat=asked)


class _Figures:
    """What was found so far; with a file, it is there too: a later part that fails takes nothing away."""

    def __init__(self, out: Path | None, found: dict[str, Any]) -> None:
        self._out = out
        self._found = found

    def add(self, **found: Any) -> None:
        self._found |= found
        if self._out is not None:
            write_text(self._out, json.dumps(as_json(self._found), indent=1, allow_nan=False) + "\n")


def _check(saved: Saved, path: Path, examples: list[Example]) -> None:
    try:
        check_questions(saved.model, saved.tokenizer, examples)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _held_out(args: argparse.Namespace, saved: Saved) -> float:
    batches = validation_batches(
        shards.read_texts(shards.load(manifest_path(args.root)), "val"),
        saved.tokenizer,
        sequences=args.sequences,
        batch_size=args.device_batch_size,
        sequence_length=saved.model.config.sequence_length,
        device=args.device,
    )
    found = bits_per_byte(saved.model, batches, saved.tokenizer.token_bytes())
    say(f"{saved.path}: val bpb {found:.4f}")
    return found


def _core(args: argparse.Namespace, saved: Saved, tasks: list[Task], figures: _Figures) -> None:
    found: dict[str, Any] = {"max_per_task": args.max_per_task, "tasks": {}}

    def tell(score: TaskScore) -> None:
        found["tasks"][score.label] = {"accuracy": score.accuracy, "centred": score.centred}
        figures.add(core=found)
        say(f"{score.label}: {score.accuracy:.4f} of {score.asked}, centred {score.centred:.4f}")

    most = args.max_per_task
    result = evaluate_core(saved.model, saved.tokenizer, tasks, max_per_task=most, after_task=tell)
    missing = f"; missing: {', '.join(result.missing)}" if result.missing else ""
    say(f"{result.name}: {result.mean:.4f}{missing}")
    figures.add(core={"name": result.name, "mean": result.mean, **found})


def _chat(args: argparse.Namespace, saved: Saved, path: Path, questions: list[Example]) -> dict[str, Any]:
    score = evaluate_chat(saved.model, saved.tokenizer, questions, most_tokens=args.max_tokens)
    say(f"{path}: accuracy {score.accuracy:.4f} of {score.asked}, by chance {score.by_chance:.4f}")
    return {"asked": score.asked, "accuracy": score.accuracy, "by_chance": score.by_chance}


if __name__ == "__main__":
    sys.exit(run(main))
