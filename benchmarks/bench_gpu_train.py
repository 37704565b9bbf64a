"""Training on one GPU: bf16 beside fp32, tokens a second of a d12 and a d20, and how a d12 learns.

    python benchmarks/bench_gpu_train.py [--minutes 8] [--attention torch] [--smoke]
                                         [--out benchmarks/results/gpu_train.json]

Saved: (1) the loss of a tiny model after some steps on the device, in bf16 and compiled, beside that of the
same steps on the CPU in fp32; where they are not near each other it ends there, with exit code 1. (2) Tokens
a second, MFU and peak memory of a d12 and a d20 (variant 2026-01), each step timed whole, the optimizer with
it, after some that are not; with torch's attention as torch chooses it, and with cuDNN's, if there is time.
(3) The loss and the held-out bits per byte of 1,000 steps of a d12 on the standard library, by the verb
`train`; its time is what the other parts leave of the minutes, and where that is too little it says at which
step it was cut short. Not shown: several GPUs; English text; a loader that is slower than the device.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from curtail_kernels.dispatch import Means
from gputrain.device import machine, release
from gputrain.timed import Stopwatch, drawn, run_steps
from torch.nn.attention import SDPBackend, sdpa_kernel

from nanochat import shards
from nanochat.dataset import manifest_path, prepare_stdlib
from nanochat.model import GPTConfig, build_model
from nanochat.speed import peak_flops
from nanochat.tok_train import tokenizer_path, train_tokenizer_to
from nanochat.tokenizer import Tokenizer

PACKAGES = ("torch", "triton", "numpy", "curtail-rustbpe")
ATTENTIONS = ("torch",)
"""What can be asked for. Ours is measured by bench_gpu_kernels.py."""
NEAR = 0.02
"""How far the losses of bf16 and fp32 may be apart, relative."""
CLOSING_S = 20.0
"""Kept back for what comes after the last part."""
LEARNING_SHARE = 0.6
"""Share of the minutes that rows of less interest leave to the last part."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything."""

    near_steps: int = 20
    depths: tuple[int, ...] = (12, 20)
    vocabulary: int = 65_536
    sequence: int = 2_048
    batch: int = 32
    passes: int = 8
    warmup: int = 3
    windows: int = 5
    corpus_bytes: int = 64_000_000
    tokenizer: int = 32_768
    learning: tuple[str, ...] = (
        *("--depth", "12", "--sequence-length", "2048", "--device-batch-size", "16"),
        *("--total-batch-size", "32768", "--eval-every", "100", "--eval-sequences", "64"),
    )
    steps: int = 1_000


SMOKE = Sizes(
    near_steps=4,
    depths=(1, 2),
    vocabulary=320,
    sequence=32,
    batch=2,
    passes=2,
    warmup=1,
    windows=2,
    corpus_bytes=150_000,
    tokenizer=320,
    learning=(
        *("--depth", "1", "--sequence-length", "32", "--device-batch-size", "2"),
        *("--total-batch-size", "128", "--eval-every", "5", "--eval-sequences", "4"),
    ),
    steps=10,
)


def near(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """The loss of a tiny model after the same steps on the device and on the CPU."""
    shape = {"vocabulary": 256, "batch": 8, "sequence": 128, "passes": 1}
    config = GPTConfig.from_depth(2, vocab_size=shape["vocabulary"], sequence_length=shape["sequence"])
    found: list[float] = []
    for where in (torch.device("cpu"), device):
        model = build_model(config, seed=1).to(where)
        steps = (drawn(seed, **shape).to(where) for seed in range(sizes.near_steps))
        compiles = where.type == "cuda"
        watch = Stopwatch(where)
        found.append(run_steps(model, steps, batch_tokens=2**14, compiles=compiles, stopwatch=watch)[-1])
    apart = abs(found[1] - found[0]) / found[0]
    return {"fp32_cpu": found[0], "device": found[1], "apart": apart, "at_most": NEAR, "holds": apart <= NEAR}


def speed(depth: int, backend: str, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Tokens a second of whole inner steps, each a window."""
    release(device)
    config = GPTConfig.from_depth(depth, vocab_size=sizes.vocabulary, sequence_length=sizes.sequence)
    # Torch's own attention, whatever `dispatch` would take; cuDNN's where nothing else is allowed.
    model = build_model(config, seed=1, means=Means(attention="plain")).to(device)
    shape = {"batch": sizes.batch, "sequence": sizes.sequence, "passes": sizes.passes}
    step = drawn(1, vocabulary=sizes.vocabulary, **shape).to(device)
    began, watch = time.perf_counter(), Stopwatch(device)
    forced: AbstractContextManager[None] = nullcontext()
    if backend == "cudnn":
        forced = sdpa_kernel(SDPBackend.CUDNN_ATTENTION)
    with forced:
        steps = repeat(step, sizes.warmup + sizes.windows)
        run_steps(model, steps, batch_tokens=step.num_tokens, compiles=device.type == "cuda", stopwatch=watch)
    seconds = watch.between()
    rates = sorted(step.num_tokens / each for each in seconds[sizes.warmup :])
    peak = peak_flops(device)
    median = statistics.median(rates)
    return {
        "depth": depth,
        "attention": f"torch, {backend}",
        "parameters": model.parameter_count(),
        "flops_per_token": model.flops_per_token(),
        "step_tokens": step.num_tokens,
        "pass": [sizes.batch, sizes.sequence],
        "compiled": device.type == "cuda",
        "tokens_per_s": {"median": median, "least": rates[0], "most": rates[-1], "n": len(rates)},
        "mfu": None if peak is None else median * model.flops_per_token() / peak,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "first_step_s": seconds[0],
        "wall_s": time.perf_counter() - began,
    }


def speeds(sizes: Sizes, device: torch.device, *, spare_until: float) -> Iterator[dict[str, Any]]:
    """Each depth with the attention that torch chooses; then with cuDNN's, up to a moment."""
    for depth in sizes.depths:
        yield speed(depth, "as it chooses", sizes, device)
    for depth in reversed(sizes.depths):
        row = {"depth": depth, "attention": "torch, cudnn"}
        if device.type != "cuda":
            yield {**row, "left_out": "there is no CUDA device"}
        elif time.perf_counter() > spare_until:
            yield {**row, "left_out": "there was no time left for it"}
        else:
            try:
                yield speed(depth, "cudnn", sizes, device)
            except RuntimeError as error:  # cuDNN has no kernel for it, or the compiler no way to it
                yield {**row, "left_out": str(error).splitlines()[0][:200]}


def learn(root: Path, sizes: Sizes, device: torch.device, *, until: float) -> dict[str, Any]:
    """Train by the verb until a moment at most; return what its log says."""
    release(device)
    prepare_stdlib(root, max_bytes=sizes.corpus_bytes, seed=1)
    train_tokenizer_to(root, vocab_size=sizes.tokenizer, max_chars=10**9, doc_cap=10_000)
    tokenizer = Tokenizer.load(tokenizer_path(root))
    texts = shards.read_texts(shards.load(manifest_path(root)), "train")
    corpus = sum(len(tokenizer.encode(text)) + 1 for text in texts)
    command = [sys.executable, "-m", "nanochat.train", "--root", str(root), *sizes.learning]
    command += ["--num-iterations", str(sizes.steps), "--log-every", "10", "--device", device.type]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=max(1.0, until - time.perf_counter()))
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    log = root / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    trained = [record for record in records if "loss" in record]
    done = trained[-1]["step"] if trained else 0
    tokens = trained[-1]["tokens"] if trained else 0
    return {
        "arguments": " ".join(sizes.learning),
        "vocabulary": sizes.tokenizer,
        "steps": done,
        "asked": sizes.steps,
        "cut_short": None if done == sizes.steps else f"at step {done}: its time was over",
        "failed": code > 0,
        "tokens": tokens,
        "corpus_tokens": corpus,
        "passes": tokens / corpus,
        "loss": {str(record["step"]): round(record["loss"], 4) for record in trained},
        "val_bpb": {str(one["step"]): round(one["val_bpb"], 4) for one in records if "val_bpb" in one},
        "tokens_per_s_median": statistics.median(one["tokens_per_s"] for one in trained) if trained else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--attention", choices=ATTENTIONS, default="torch")
    parser.add_argument("--smoke", action="store_true", help="all of it, tiny, on the CPU")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu_train.json"))
    args = parser.parse_args()
    began = time.perf_counter()
    if not (args.smoke or torch.cuda.is_available()):
        print("bench_gpu_train: there is no CUDA device here, nothing was run")
        return 0
    device, sizes = torch.device("cpu" if args.smoke else "cuda"), SMOKE if args.smoke else Sizes()
    end = began + 60 * args.minutes
    result: dict[str, Any] = {
        "what": "training on one device: bf16 beside fp32, speed by depth, and how a d12 learns",
        "not_shown": "several GPUs; English text; a loader slower than the device",
        "smoke": args.smoke,
        "attention": {"measured": args.attention, "missing": "ours: make gpu-kernels measures it"},
        "correctness": near(sizes, device),
    }
    print(json.dumps(result["correctness"]))
    if result["correctness"]["holds"]:
        result["speed"] = []
        for row in speeds(sizes, device, spare_until=end - 60 * args.minutes * LEARNING_SHARE):
            result["speed"].append(row)
            print(json.dumps(row))
        with tempfile.TemporaryDirectory() as directory:
            result["learning"] = learn(Path(directory), sizes, device, until=end - CLOSING_S)
    result["machine"] = {**machine(device, PACKAGES), "peak_flops": peak_flops(device)}
    result["wall_s"] = time.perf_counter() - began
    result["measured_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"saved: {args.out}")
    return 0 if result["correctness"]["holds"] and not result["learning"]["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
