"""Text from a model, a token at a time: each token goes through the model once, the rest is remembered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.model import GPT, Cache
from nanochat.settings import require


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: float = 0.8
    """Logits are divided by it; 0: always the likeliest token."""
    top_k: int = 50
    """Only so many of the likeliest tokens are drawn from; 0: all."""
    seed: int = 0
    """The same seed draws the same tokens from the same logits."""

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "temperature", self.temperature, "at least 0")
        require(self.top_k >= 0, "top_k", self.top_k, "at least 0")
        require(0 <= self.seed < 2**63, "seed", self.seed, "in [0, 2^63)")


def generate(
    model: GPT,
    prompt: Sequence[int],
    *,
    most: int,
    sampling: Sampling = Sampling(),
    stop: frozenset[int] = frozenset(),
) -> Iterator[int]:
    """Yield the tokens that follow `prompt`, each as soon as it is drawn.

    On CUDA the model runs in bf16 autocast, and the cache is bf16.

    Args:
        model: Its device is used.
        prompt: Token ids, at least one.
        most: Tokens to draw at most.
        sampling: How they are drawn.
        stop: Tokens that end the text; the one that did is yielded last.

    Raises:
        ValueError: The prompt is empty, or prompt and `most` do not fit the model's positions.
    """
    require(bool(prompt), "the prompt", list(prompt), "at least one token")
    positions, needed = model.cos.size(0), len(prompt) + most
    require(needed <= positions, "prompt and continuation", needed, f"at most {positions} tokens")
    return _drawn(model, prompt, most, sampling, stop)


@torch.inference_mode()
def _drawn(
    model: GPT, prompt: Sequence[int], most: int, sampling: Sampling, stop: frozenset[int]
) -> Iterator[int]:
    device = model.head.weight.device
    reduced = device.type == "cuda"
    dtype = torch.bfloat16 if reduced else torch.float32
    cache = Cache(model.config, batch_size=1, most=len(prompt) + most, device=device, dtype=dtype)
    generator = torch.Generator(device="cpu").manual_seed(sampling.seed)
    inputs = torch.tensor([list(prompt)], device=device)  # [1, T]
    for _ in range(most):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced):
            z = model.logits(inputs, cache)[0, -1]  # [V]
        token = draw(z, sampling, generator)
        yield token
        if token in stop:
            return
        inputs = torch.tensor([[token]], device=device)


def draw(z: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw one token from logits z, [V]."""
    if sampling.temperature == 0:
        return int(z.argmax())
    # From the likeliest down, so that what overflows is -inf, which is drawn as rarely as it should be.
    z = z.float().cpu()
    z = (z - z.max()) / max(sampling.temperature, torch.finfo(torch.float32).tiny)
    if 0 < sampling.top_k < z.numel():
        z, kept = z.topk(sampling.top_k)
    else:
        kept = torch.arange(z.numel())
    return int(kept[torch.multinomial(z.softmax(-1), 1, generator=generator)])
