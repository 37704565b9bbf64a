"""Variant 2026-01, which the published curtailment run trained: x0 is mixed in before every block."""

from typing import cast

import torch
from curtail_kernels.dispatch import Means
from torch import Tensor, nn

from nanochat.model.cache import Cache
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT, HEAD_STD, TABLE_FACTOR, Draw, uniform_bound
from nanochat.model.layers import Block, Rotary, rotary_tables

ROTARY_BASE = 10_000.0


class GPT202601(GPT):
    """x <- r_i x + s_i x0 before block i, where x0 is the normed embedding."""

    def __init__(self, config: GPTConfig, means: Means) -> None:
        """Build the shape; `initialize` draws the weights."""
        tables = rotary_tables(TABLE_FACTOR * config.sequence_length, config.head_dim, ROTARY_BASE)
        # The recipe keeps its tables in bf16; fp32 tensors of the same values multiply fp32 queries as well.
        rounded = Rotary(*(table.bfloat16().float() for table in tables))
        blocks = [Block(config, window=window, means=means) for window in config.windows]
        super().__init__(config, blocks, rounded, means)

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw the recipe's initial weights from `seed`, in the order of the model."""
        draw, bound = Draw(seed), uniform_bound(self.config.n_embd)
        draw.normal(self.embedding.weight, 1.0)
        for block in cast("list[Block]", list(self.blocks)):
            for weight in (block.attention.q.weight, block.attention.k.weight, block.attention.v.weight):
                draw.uniform(weight, -bound, bound)
            nn.init.zeros_(block.attention.out.weight)
            draw.uniform(block.mlp.up.weight, -bound, bound)
            nn.init.zeros_(block.mlp.down.weight)
        draw.normal(self.head.weight, HEAD_STD)

    def stream(self, inputs: Tensor, x: Tensor, rotary: Rotary, cache: Cache | None) -> Tensor:
        """See GPT."""
        x0 = x
        for i, block in enumerate(self.blocks):
            x = self.residual_lambdas[i] * x + self.x0_lambdas[i] * x0
            x = block(x, rotary, None if cache is None else cache.layers[i])
        return x
