"""The inner loop: forward, backward, schedule, step. It does not know who listens."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from nanochat.schedule import Pace
from nanochat.steps import Step


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
    steps: Iterable[Step],
    *,
    pace: Pace,
    after_step: Callable[[StepReport], None],
) -> None:
    """Train until `steps` ends.

    A step that padding or the end of the data fills in part weighs in the gradients, and so in the momentum,
    as much as it has tokens. On CUDA the forward pass runs in bf16 autocast.

    On CUDA `after_step` is called, and the next step pulled, while the device may still be at the optimizer's
    work: what the host does then, such as to make the next batches, costs no time up to that.

    Args:
        model: A GPT in training mode, compiled or not, on the batches' device. At several ranks each has its
            own steps; the optimizer averages the gradients, or DistributedDataParallel around the GPT does.
        optimizer: From `build_optimizer`.
        steps: Pulled one at a time.
        pace: Sets rates before each step.
        after_step: Called once after each step, with gradients dropped; may change the parameters in place.
    """
    for step in steps:
        nats = _Arriving(accumulate_gradients(model, step))
        factor = pace.apply(optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens = step.num_tokens
        after_step(StepReport(loss=nats.value() / max(1, tokens), tokens=tokens, lr_factor=factor))


def accumulate_gradients(model: torch.nn.Module, step: Step) -> Tensor:
    """Add the gradients of the step's summed loss / capacity; returns that summed loss in nats, []."""
    total = torch.zeros((), device=step.batches[0].inputs.device)
    for number, batch in enumerate(step.batches, start=1):
        device = batch.inputs.device.type
        with _averaging(model, last=number == len(step.batches)):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                nats = model(batch.inputs, batch.targets, reduction="sum")
            (nats / step.capacity).backward()
        total += nats.detach()
    return total


def warm_up(model: torch.nn.Module, step: Step) -> None:
    """Do what a step does first, and leave the model as it was: a compiled one is compiled by that.

    Args:
        model: As for `train`; all ranks call this.
        step: Of the shape of those that come; best without tokens.
    """
    accumulate_gradients(model, step)
    model.zero_grad(set_to_none=True)


def _averaging(model: torch.nn.Module, *, last: bool) -> AbstractContextManager[object]:
    # Ranks may have different numbers of passes in a step, and meet in its last one alone.
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


class _Arriving:
    """A number on its way to the host, which need not wait for what the device is given to do after it."""

    def __init__(self, number: Tensor) -> None:
        self._there: torch.cuda.Event | None = None
        self._number = number
        if number.is_cuda:
            self._number = torch.empty((), dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record()

    def value(self) -> float:
        """The number, once it is there."""
        if self._there is not None:
            self._there.synchronize()
        return self._number.item()
