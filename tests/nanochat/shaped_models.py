"""Small models of both variants, with whole heads of 128 and none of their weights idle."""

import torch

from nanochat.model import GPTConfig, build_model

SHAPE = {"n_layer": 3, "n_embd": 256, "n_head": 2, "n_kv_head": 2, "vocab_size": 400, "sequence_length": 32}
SHAPES = {
    "2026-01": {"variant": "2026-01"},
    "grouped": {"variant": "2026-01", "n_kv_head": 1, "window_pattern": "SL"},
    "2026-07": {"variant": "2026-07", "window_pattern": "L"},
    "2026-07, grouped": {"variant": "2026-07", "n_kv_head": 1, "window_pattern": "SSL"},
}


def a_model(name):
    """With no weight at a value at which it does nothing."""
    model = build_model(GPTConfig(**{**SHAPE, **SHAPES[name]}), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))
    return model.eval()
