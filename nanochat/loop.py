"""The inner loop: forward, backward, schedule, step. It does not know who listens."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from nanochat.packing import Batch
from nanochat.schedule import Pace


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One inner step, done."""

    loss: float
    """Mean cross-entropy of the step's targets, in nats."""
    tokens: int
    """Targets that counted."""
    lr_factor: float
    """Factor of the learning rates in this step."""


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    *,
    pace: Pace,
    after_step: Callable[[StepReport], None],
    accumulate: int = 1,
) -> None:
    """Train until `batches` ends.

    A batch that padding fills in part weighs in a step, and so in the momentum, as much as it has tokens. On
    CUDA the forward pass runs in bf16 autocast.

    Args:
        model: A GPT in training mode, on the batches' device. At several ranks each has its own batches, and
            DistributedDataParallel around the GPT makes their gradients one mean.
        optimizer: From `build_optimizer`.
        batches: Pulled one step at a time; when it ends within a step, the step is done with what came.
        pace: Sets rates before each step.
        after_step: Called once after each step, with gradients dropped; may change the parameters in place.
        accumulate: Batches of a step.
    """
    source = iter(batches)
    while step := list(islice(source, accumulate)):
        nats = _accumulate_gradients(model, step, accumulate)
        factor = pace.apply(optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = sum(batch.num_tokens for batch in step)
        after_step(StepReport(loss=nats / max(1, tokens), tokens=tokens, lr_factor=factor))


def _accumulate_gradients(model: torch.nn.Module, step: list[Batch], accumulate: int) -> float:
    """Add the gradients of the step's mean loss; returns its summed loss in nats."""
    total = torch.zeros((), device=step[0].inputs.device)
    for batch in step:
        device = batch.inputs.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            nats = model(batch.inputs, batch.targets, reduction="sum")
        (nats / (batch.inputs.numel() * accumulate)).backward()
        total += nats.detach()
    return total.item()


def limited(batches: Iterable[Batch], count: int) -> Iterator[Batch]:
    """The first `count` batches; the one after is not pulled."""
    return islice(batches, count)
