"""Measures rustbpe beside PyPI's rustbpe, tokenizers, bpeasy, gigatoken, ffbpe and tiktoken, in one run.

    python benchmarks/bench_bpe.py [--part training encoding exact memory runs] [--repeats 3] [--quick]
        [--folder runs/bpe] [--out benchmarks/results/bpe.json]

The text is what the machine has: code, documentation, translations (`bpe/corpus.py`); it is gathered once
into the folder. Peers come from PyPI into an environment of their own, with pinned versions. Every figure is
of a process of its own; libraries take turns, so that a busy moment hits all of them.

Training is timed from the first text that is asked of the iterator to the last merge, with two threads, at
each vocabulary; its peak of memory is the process's, interpreter included. gigatoken knows GPT-2's split
alone and reads the file itself; ffbpe is measured with our split and with the one it is fastest at.

Encoding is of new text, by an encoder that has seen some of the training text, with one set of merges.
gigatoken refuses our pattern, and is given GPT-4's (up to three digits), as `ours_gpt4` is for comparison.
`tokenizers` and PyPI's rustbpe make nothing but lists.

A part that is measured again replaces its figures in the JSON. `--quick` is a smoke test on little text.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bpe import corpus, encoding, processes, proof, speed
from bpe.bench import Bench
from thinlink.record import bound, conditions, save

PARTS = {
    "training": speed.training,
    "encoding": encoding.encoding,
    "exact": proof.exact,
    "memory": proof.memory,
    "runs": speed.runs,
}
TRAIN_BYTES, NEW_BYTES = 210_000_000, 24_000_000

DOES_NOT_SHOW = (
    "other machines and more cores; text in one language alone; gigatoken with our split; libraries that "
    "read files themselves with all cores; what the loader and the model around a tokenizer cost"
)


def bench_of(args: argparse.Namespace, python: Path, folder: Path) -> Bench:
    shares: dict[str, Any] = {"python": python, "folder": folder}
    if args.quick:
        sizes: dict[str, Any] = {"vocabularies": (4096,), "encode_vocabulary": 4096, "repeats": 1}
        return Bench(**shares, **sizes, warm_bytes=1_000_000, strings=2000, passes=3, long_run=100_000)
    return Bench(
        **shares,
        vocabularies=(4096, 32768, 65536),
        encode_vocabulary=32768,
        repeats=args.repeats,
        warm_bytes=24_000_000,
        strings=100_000,
        passes=11,
        long_run=1_000_000,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/bpe"))
    parser.add_argument("--peers", type=Path, default=Path(".tools/bpe-peers"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/bpe.json"))
    args = parser.parse_args()
    before = conditions()
    python = processes.install(args.peers.absolute())
    folder = args.folder.absolute() / ("quick" if args.quick else "whole")
    shrink = 40 if args.quick else 1
    text = corpus.gather(folder, TRAIN_BYTES // shrink, NEW_BYTES // shrink)
    bench = bench_of(args, python, folder)
    old = json.loads(args.out.read_text()) if args.out.is_file() else {}
    parts = old.get("parts", {}) if old.get("corpus") == text else {}
    for name in args.part:
        load = os.getloadavg()
        try:
            measured = PARTS[name](bench)
        except processes.Failed as failed:
            measured = {"failed": str(failed), "must": {f"{name}_failures": bound(1, 0)}}
        parts[name] = {**measured, "repeats": args.repeats, "load": [load, os.getloadavg()]}
        must = {line: held for part in parts.values() for line, held in part["must"].items()}
        result = {"peers": list(processes.PEERS.values()), "corpus": text, "must": must, "parts": parts}
        save(args.out, {**result, "does_not_show": DOES_NOT_SHOW}, before=before)


if __name__ == "__main__":
    main()
