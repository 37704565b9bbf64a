"""The GPT in two variants: 2026-01, which the published run trained, and 2026-07."""

from curtail_kernels.dispatch import PLAIN_MEANS, Means

from nanochat.model.cache import Cache
from nanochat.model.config import GPTConfig, plain
from nanochat.model.gpt import GPT, IGNORE_INDEX
from nanochat.model.v2026_01 import GPT202601
from nanochat.model.v2026_07 import GPT202607

__all__ = ["GPT", "IGNORE_INDEX", "Cache", "GPTConfig", "build_model", "plain"]

_CLASSES: dict[str, type[GPT202601] | type[GPT202607]] = {"2026-01": GPT202601, "2026-07": GPT202607}


def build_model(config: GPTConfig, *, seed: int = 0, means: Means = PLAIN_MEANS) -> GPT:
    """Build the model of `config.variant`.

    On the meta device it has shapes only. Otherwise its weights follow from `seed` alone, on any device: they
    are drawn on the CPU, in the order of the model, from a generator of their own. `means` says what computes
    it, which is no part of the model.

    Raises:
        ValueError: The variant cannot have this shape.
    """
    model = _CLASSES[config.variant](config, means)
    if not model.head.weight.is_meta:
        model.initialize(seed)
    return model
