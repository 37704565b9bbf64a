"""Whole inner steps of a nanochat model, with and without the fused kernels: tokens a second and memory."""

import statistics
import time
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from curtail_kernels.dispatch import Means
from gputrain.device import release
from gputrain.timed import Stopwatch, drawn, run_steps

from nanochat.model import GPTConfig, build_model

MEANS = {
    "torch": Means(),
    "attention": Means(attention="triton"),
    "attention, head and relu2": Means(attention="triton", fused=True),
}
"""What computes the model, each beside the first, which is what the table of attentions says."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything."""

    depth: int = 12
    vocabulary: int = 65_536
    batch: int = 32
    sequence: int = 2_048
    passes: int = 2
    warmup: int = 3
    windows: int = 8


TINY = Sizes(depth=1, vocabulary=320, batch=2, sequence=16, passes=1, warmup=1, windows=1)


def measure_steps(name: str, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Tokens a second of whole inner steps, the optimizer with them.

    On a CPU attention is torch's: the dispatch does not take another there.
    """
    release(device)
    means = MEANS[name]
    if device.type != "cuda":
        means = Means(fused=means.fused)
    config = GPTConfig.from_depth(sizes.depth, vocab_size=sizes.vocabulary, sequence_length=sizes.sequence)
    model = build_model(config, seed=1, means=means).to(device)
    shape = {"batch": sizes.batch, "sequence": sizes.sequence, "passes": sizes.passes}
    step = drawn(1, vocabulary=sizes.vocabulary, **shape).to(device)
    began, watch = time.perf_counter(), Stopwatch(device)
    losses = run_steps(
        model,
        repeat(step, sizes.warmup + sizes.windows),
        batch_tokens=step.num_tokens,
        compiles=device.type == "cuda",
        stopwatch=watch,
    )
    took = watch.between()
    rates = [step.num_tokens / each for each in took[sizes.warmup :]]
    return {
        "what": "steps",
        "means": name,
        "depth": sizes.depth,
        "vocabulary": sizes.vocabulary,
        "pass": [sizes.batch, sizes.sequence],
        "step_tokens": step.num_tokens,
        "tokens_per_s": {
            "median": statistics.median(rates), "least": min(rates), "most": max(rates), "n": len(rates),
        },
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "last_loss": losses[-1],
        "first_step_s": took[0],
        "wall_s": time.perf_counter() - began,
    }  # fmt: skip
