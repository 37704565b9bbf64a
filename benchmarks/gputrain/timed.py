"""Inner steps of the training loop on drawn tokens, each timed."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from nanochat.loop import StepReport, train
from nanochat.model import GPT
from nanochat.packing import Batch
from nanochat.recipes import OptimConfig, build_optimizer
from nanochat.schedule import Pace, Schedule
from nanochat.steps import Step


class Stopwatch:
    """Seconds between two marks: of the device's own clock where it has one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []

    def mark(self) -> None:
        if self._device.type != "cuda":
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def between(self) -> list[float]:
        if self._device.type != "cuda":
            return [b - a for a, b in zip(self._marks, self._marks[1:], strict=False)]
        torch.cuda.synchronize()
        return [a.elapsed_time(b) / 1e3 for a, b in zip(self._marks, self._marks[1:], strict=False)]


def run_steps(
    model: GPT, steps: Iterator[Step], *, batch_tokens: int, compiles: bool, stopwatch: Stopwatch
) -> list[float]:
    """Train by the loop; return the losses. The stopwatch has a mark before the first step and after each."""
    losses: list[float] = []

    def after_step(report: StepReport) -> None:
        losses.append(report.loss)
        stopwatch.mark()

    forward: Any = torch.compile(model, dynamic=False) if compiles else model
    optimizer = build_optimizer(model, OptimConfig(batch_tokens=batch_tokens))
    stopwatch.mark()
    train(
        forward, optimizer, steps, pace=Pace(schedule=Schedule(), progress=lambda: 0.1), after_step=after_step
    )
    return losses


def drawn(seed: int, *, vocabulary: int, batch: int, sequence: int, passes: int) -> Step:
    """A step whose tokens can be learnt: each follows from the one before."""
    generator = torch.Generator().manual_seed(seed)
    batches: list[Batch] = []
    for _ in range(passes):
        inputs = torch.randint(vocabulary, (batch, sequence), generator=generator)
        targets = (inputs + 1) % vocabulary
        batches.append(Batch(inputs=inputs, targets=targets, num_tokens=inputs.numel()))
    return Step(batches=tuple(batches), passes=passes)
