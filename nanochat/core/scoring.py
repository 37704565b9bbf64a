"""Whether a model gets an item right."""

import math
import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.core.prompts import Encoder, Scored, cropped, prompts_of
from nanochat.core.tasks import LanguageModeling, Task
from nanochat.model import GPT

SHOT_SEED = 1_234


def is_right(model: GPT, encoder: Encoder, task: Task, number: int) -> bool:
    """Whether the model gets item `number` of a task right.

    Of several sequences it chooses the one whose span has the lowest mean loss; in language modelling each
    token of the span must be the likeliest. A model whose losses are no numbers chooses nothing.
    """
    item = task.items[number]
    others = [i for i in range(len(task.items)) if i != number]
    drawn = random.Random(SHOT_SEED + number).sample(others, task.shots)
    scored = prompts_of(item, [task.items[i] for i in drawn], task.delimiter, encoder)
    scored = [cropped(one, model.cos.size(0)) for one in scored]
    losses, likeliest = _predictions(model, scored)
    if isinstance(item, LanguageModeling):
        [one] = scored
        return likeliest[0, one.start - 1 : one.end - 1].tolist() == one.ids[one.start : one.end]
    means = [losses[i, one.start - 1 : one.end - 1].mean().item() for i, one in enumerate(scored)]
    return not any(map(math.isnan, means)) and means.index(min(means)) == item.gold


@torch.inference_mode()
def _predictions(model: GPT, scored: Sequence[Scored]) -> tuple[Tensor, Tensor]:
    """Of each position of each sequence: the loss of the token after it, and the likeliest token; [B, T]."""
    device = model.head.weight.device
    longest = max(len(one.ids) for one in scored)
    ids = torch.zeros(
        len(scored), longest, dtype=torch.int64
    )  # causal: what is behind the end changes nothing
    for i, one in enumerate(scored):
        ids[i, : len(one.ids)] = torch.tensor(one.ids)
    ids = ids.to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        z = model.logits(ids)  # [B, T, V]
    following = ids.roll(-1, dims=1)
    losses = F.cross_entropy(z.transpose(1, 2), following, reduction="none")  # [B, T]
    return losses, z.argmax(-1)
