"""Bits per byte: the loss in a unit that does not depend on the tokenizer."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from nanochat.documents import Encoder
from nanochat.model import IGNORE_INDEX
from nanochat.packing import Batch, Packer
from nanochat.settings import require

Model = Callable[..., Tensor]
"""A GPT, perhaps compiled: (inputs, targets, reduction) -> losses."""


def validation_batches(
    texts: Iterable[str],
    tokenizer: Encoder,
    *,
    sequences: int,
    batch_size: int,
    sequence_length: int,
    device: torch.device | str = "cpu",
) -> list[Batch]:
    """The first `sequences` windows of the texts, the same at each call; fewer if the texts end before.

    Raises:
        ValueError: There is no text.
    """
    require(sequences >= 1, "sequences", sequences, "at least 1")
    packer = Packer(tokenizer, batch_size=1, sequence_length=sequence_length)
    rows: list[Batch] = []
    for row in _windows(packer, texts):
        rows.append(row)
        if len(rows) == sequences:
            break
    require(bool(rows), "the validation split", "empty", "some text: prepare the data set with more bytes")
    return [_joined(rows[i : i + batch_size], device) for i in range(0, len(rows), batch_size)]


def _windows(packer: Packer, texts: Iterable[str]) -> Iterator[Batch]:
    for text in texts:
        packer.add([text])
        while packer.full():
            yield packer.take()
    if not packer.empty():
        yield packer.take()


def _joined(rows: list[Batch], device: torch.device | str) -> Batch:
    return Batch(
        inputs=torch.cat([row.inputs for row in rows]).to(device),
        targets=torch.cat([row.targets for row in rows]).to(device),
        num_tokens=sum(row.num_tokens for row in rows),
    )


def bits_per_byte(model: Model, batches: Iterable[Batch], token_bytes: Tensor) -> float:
    """Summed nats / ln 2 / summed bytes of the targets.

    Args:
        model: On the batches' device.
        batches: Padding counts for nothing.
        token_bytes: [V] int64, UTF-8 bytes of each token; 0 for specials, which are left out of both sums.

    Raises:
        ValueError: No target has bytes.
    """
    return per_byte(*nats_and_bytes(model, batches, token_bytes))


def per_byte(nats: float, length: float) -> float:
    """Bits per byte of so many nats over so many bytes. Raises ValueError if there are no bytes."""
    require(
        length > 0,
        "the bytes of the validation targets",
        length,
        "above 0: hold out texts or answers with words",
    )
    return nats / math.log(2) / length


@torch.no_grad()
def nats_and_bytes(model: Model, batches: Iterable[Batch], token_bytes: Tensor) -> tuple[float, int]:
    """Both sums of `bits_per_byte`, so that ranks can add theirs up."""
    nats, length = 0.0, 0
    for batch in batches:
        targets = batch.targets.flatten()  # [B * T]
        device = targets.device
        bytes_of = token_bytes.to(device)[targets.clamp_min(0)]  # [B * T]
        counted = (targets != IGNORE_INDEX) & (bytes_of > 0)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            losses = model(batch.inputs, batch.targets, reduction="none")  # [B * T]
        nats += losses[counted].double().sum().item()
        length += int(bytes_of[counted].sum().item())
    return nats, length
