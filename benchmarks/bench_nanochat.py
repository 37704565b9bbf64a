"""The vanilla loop on a CPU: the loss of a depth 4 on the standard library.

    python benchmarks/bench_nanochat.py [--steps 1000] [--out benchmarks/results/nanochat.json]

Saved: the loss every ten steps, the held-out bits per byte, and whether a run that was broken off and resumed
ended with the same bytes. Not shown: anything measured on a GPU. How fast the loader feeds: bench_loader.py.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nanochat.dataset import prepare_stdlib
from nanochat.tok_train import train_tokenizer_to

PACKAGES = ("torch", "numpy", "pyarrow", "curtail-rustbpe")
VOCABULARY = 4_096
ARGUMENTS = ["--depth", "4", "--sequence-length", "256", "--device-batch-size", "16", "--device", "cpu"]


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


def main() -> None:
    parser = argparse.ArgumentParser(description="The vanilla loop on a CPU.")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/nanochat.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        prepare_stdlib(root, max_bytes=8_000_000, seed=1)
        train_tokenizer_to(root, vocab_size=VOCABULARY, max_chars=10**9, doc_cap=10_000)
        learnt = learn(root, args.steps)
    result = {
        "what": "a depth 4 on the standard library's sources",
        "not_shown": "anything on a GPU; English text",
        "learning": learnt,
        "machine": {
            "cpu_cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(learnt["val_bpb"], indent=1))


if __name__ == "__main__":
    main()
