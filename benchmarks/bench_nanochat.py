"""The vanilla loop on a CPU: the loss of a depth 4 on the standard library, and how fast the loader feeds.

    python benchmarks/bench_nanochat.py [--steps 1000] [--out benchmarks/results/nanochat.json]

Saved: the loss every ten steps, the held-out bits per byte, whether a run that was broken off and resumed
ended with the same bytes, and the loader's tokens a second beside those that a d20 can use on one H200. That
need is an assumption: 60 % of the GPU's 989e12 operations a second. Not shown: anything measured
on a GPU, or a loader that shares its cores with training.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from nanochat import shards
from nanochat.dataset import manifest_path, prepare_stdlib
from nanochat.model import GPTConfig, build_model
from nanochat.read_ahead import read_ahead
from nanochat.speed import PEAK_FLOPS
from nanochat.stream import Place, TokenStream
from nanochat.tok_train import tokenizer_path, train_tokenizer_to
from nanochat.tokenizer import Tokenizer

PACKAGES = ("torch", "numpy", "pyarrow", "curtail-rustbpe")
VOCABULARY = 4_096
ARGUMENTS = ["--depth", "4", "--sequence-length", "256", "--device-batch-size", "16", "--device", "cpu"]
ASSUMED_MFU = 0.6


def train(root: Path, steps: int, *more: str) -> list[dict[str, Any]]:
    """Run the verb; return its log."""
    cadence = [
        "--num-iterations",
        str(steps),
        "--eval-every",
        str(max(1, steps // 10)),
        "--save-every",
        str(steps // 2),
    ]
    command = [sys.executable, "-m", "nanochat.train", "--root", str(root), *ARGUMENTS, *cadence, *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]


def learn(root: Path, steps: int) -> dict[str, Any]:
    """Train; then break off in the middle, go on, and compare the bytes."""
    log = train(root, steps)
    last = root / "checkpoints" / f"step-{steps:07d}.safetensors"
    whole = hashlib.sha256(last.read_bytes()).hexdigest()
    last.unlink()
    train(root, steps, "--resume")
    trained = [record for record in log if "loss" in record]
    evaluated = [record for record in log if "val_bpb" in record]
    return {
        "arguments": " ".join(ARGUMENTS),
        "steps": steps,
        "tokens": trained[-1]["tokens"],
        "loss": {str(record["step"]): round(record["loss"], 4) for record in trained},
        "val_bpb": {str(record["step"]): round(record["val_bpb"], 4) for record in evaluated},
        "tokens_per_s_median": statistics.median(record["tokens_per_s"] for record in trained),
        "resumed_run_has_the_same_bytes": hashlib.sha256(last.read_bytes()).hexdigest() == whole,
    }


def feed(root: Path, batches: int) -> float:
    """Tokens a second that come out of the loader, with its thread, for a d20's windows."""
    stream = TokenStream(
        shards.load(manifest_path(root)),
        Tokenizer.load(tokenizer_path(root)),
        batch_size=32,
        sequence_length=2_048,
    )
    with read_ahead(islice(stream.batches(Place()), batches + 2)) as ready:
        next(ready), next(ready)  # the first shard is hashed and opened
        began = time.perf_counter()
        tokens = sum(placed.batch.num_tokens for placed in ready)
        return tokens / (time.perf_counter() - began)


def need() -> float:
    """Tokens a second of a d20 on one H200, by the assumption."""
    with torch.device("meta"):
        model = build_model(GPTConfig.from_depth(20, vocab_size=65_536))
    return ASSUMED_MFU * PEAK_FLOPS["H200"] / model.flops_per_token()


def main() -> None:
    parser = argparse.ArgumentParser(description="The vanilla loop on a CPU.")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5, help="of the loader")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/nanochat.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root, large = Path(directory) / "small", Path(directory) / "large"
        prepare_stdlib(root, max_bytes=8_000_000, seed=1)
        train_tokenizer_to(root, vocab_size=VOCABULARY, max_chars=10**9, doc_cap=10_000)
        shutil.copytree(root / "data", large / "data")
        train_tokenizer_to(large, vocab_size=32_768, max_chars=10**9, doc_cap=10_000)
        rates = sorted(feed(large, 40) for _ in range(args.runs))
        learnt = learn(root, args.steps)
    needed = need()
    result = {
        "what": "a depth 4 on the standard library's sources; the loader beside the need of a d20 on an H200",
        "not_shown": "anything on a GPU; English text; a loader that shares its cores with training",
        "learning": learnt,
        "loader": {
            "tokens_per_s": {"median": statistics.median(rates), "least": rates[0], "most": rates[-1]},
            "vocabulary": 32_768,
            "d20_on_an_h200_tokens_per_s": needed,
            "assumed_mfu": ASSUMED_MFU,
            "ratio": statistics.median(rates) / needed,
            "asked": 5.0,
        },
        "machine": {
            "cpu_cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"loader": result["loader"], "val_bpb": learnt["val_bpb"]}, indent=1))


if __name__ == "__main__":
    main()
