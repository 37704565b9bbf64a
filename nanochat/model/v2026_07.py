"""Variant 2026-07: value embeddings, a smear of the token before, the stream's middle taken out again."""

from typing import cast

import torch
from curtail_kernels.dispatch import Means
from torch import Tensor, nn

from nanochat.model.cache import Cache, LayerCache
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT, HEAD_STD, TABLE_FACTOR, Draw, uniform_bound
from nanochat.model.layers import Block, Rotary, norm, rotary_tables
from nanochat.settings import require

ROTARY_BASE = 100_000.0
QK_GAIN = 1.2
EMBEDDING_STD = 0.8
MLP_SHRINK = 0.4
VALUE_GATE_WIDTH = 12
VALUE_GATE_MOST = 3.0
SMEAR_GATE_WIDTH = 24
GATE_BOUND = 0.02
BACK_OUT = 0.2


def value_layers(n_layer: int) -> list[int]:
    """The layers with a value embedding: every second one, the last included."""
    return [i for i in range(n_layer) if i % 2 == (n_layer - 1) % 2]


class ValueBlock(Block):
    """A block whose values get an embedding of their token on top, weighted for each kv head.

    The weight is 3 sigmoid(W x[:12]), where x is what the attention sees.
    """

    def __init__(self, config: GPTConfig, *, window: int | None, means: Means) -> None:
        """Build the shape."""
        super().__init__(config, window=window, qk_gain=QK_GAIN, means=means)
        self.value_gate = nn.Linear(VALUE_GATE_WIDTH, config.n_kv_head, bias=False)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - it needs one thing more
        self, x: Tensor, embedded: Tensor, rotary: Rotary, cache: LayerCache | None = None
    ) -> Tensor:
        """[B, T, C] -> [B, T, C]; `embedded` is the tokens' value embedding, [B, T, Hkv x D]."""
        seen = norm(x)
        gate = VALUE_GATE_MOST * torch.sigmoid(self.value_gate(seen[..., :VALUE_GATE_WIDTH]))  # [B, T, Hkv]
        added = gate[..., None] * embedded.to(x.dtype).unflatten(-1, (gate.size(-1), -1))  # [B, T, Hkv, D]
        x = x + self.attention(seen, rotary, added, cache)
        return x + self.mlp(norm(x))


class Smear(nn.Module):
    """x_t <- x_t + strength x sigmoid(w x_t[:24]) x x_(t-1); the first token stays as it is."""

    def __init__(self) -> None:
        """Build the shape; at strength 0 nothing is changed."""
        super().__init__()
        self.gate = nn.Linear(SMEAR_GATE_WIDTH, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]; `before`, [B, 1, C], is the token before the first, if there is one."""
        if before is None:
            return torch.cat((x[:, :1], self._smeared(x[:, 1:], x[:, :-1])), dim=1)
        return self._smeared(x, torch.cat((before, x[:, :-1]), dim=1))

    def _smeared(self, x: Tensor, before: Tensor) -> Tensor:
        gate = self.strength.to(x.dtype) * torch.sigmoid(self.gate(x[..., :SMEAR_GATE_WIDTH]))
        return x + gate * before


class GPT202607(GPT):
    """x <- r_i x + s_i x0 before block i; after the last, a share of the stream's middle is subtracted."""

    def __init__(self, config: GPTConfig, means: Means) -> None:
        """Build the shape; `initialize` draws the weights."""
        require(
            config.n_embd >= SMEAR_GATE_WIDTH, "model.n_embd", config.n_embd, f"at least {SMEAR_GATE_WIDTH}"
        )
        having = set(value_layers(config.n_layer))
        blocks = [
            ValueBlock(config, window=window, means=means)
            if i in having
            else Block(config, window=window, qk_gain=QK_GAIN, means=means)
            for i, window in enumerate(config.windows)
        ]
        tables = rotary_tables(TABLE_FACTOR * config.sequence_length, config.head_dim, ROTARY_BASE)
        super().__init__(config, blocks, tables, means)
        width = config.n_kv_head * config.head_dim
        self.value_embeddings = nn.ModuleDict(
            {str(i): nn.Embedding(config.padded_vocab_size, width) for i in sorted(having)}
        )
        self.smear = Smear()
        self.back_out = nn.Parameter(torch.full((1,), BACK_OUT))

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw the recipe's initial weights from `seed`, in the order of the model."""
        draw, bound = Draw(seed), uniform_bound(self.config.n_embd)
        draw.normal(self.embedding.weight, EMBEDDING_STD)
        for block in cast("list[Block]", list(self.blocks)):
            for weight in (block.attention.q.weight, block.attention.k.weight, block.attention.v.weight):
                draw.uniform(weight, -bound, bound)
            nn.init.zeros_(block.attention.out.weight)
            draw.uniform(block.mlp.up.weight, -MLP_SHRINK * bound, MLP_SHRINK * bound)
            nn.init.zeros_(block.mlp.down.weight)
            if isinstance(block, ValueBlock):
                draw.uniform(block.value_gate.weight, 0.0, GATE_BOUND)
        draw.normal(self.head.weight, HEAD_STD)
        for table in self.value_embeddings.values():
            draw.uniform(cast("nn.Embedding", table).weight, -bound, bound)
        draw.uniform(self.smear.gate.weight, 0.0, GATE_BOUND)
        depth = torch.linspace(0, 1, self.config.n_layer)  # i / (L - 1)
        self.residual_lambdas.copy_(1.15 - 0.10 * depth)
        self.x0_lambdas.copy_(0.20 - 0.15 * depth)
        self.smear.strength.zero_()
        self.back_out.fill_(BACK_OUT)

    def stream(self, inputs: Tensor, x: Tensor, rotary: Rotary, cache: Cache | None) -> Tensor:
        """See GPT."""
        entry = x
        x = x0 = self.smear(x, None if cache is None else cache.last_entry)
        if cache is not None:
            cache.last_entry = entry[:, -1:]
        middle = x
        for i, block in enumerate(self.blocks):
            x = self.residual_lambdas[i] * x + self.x0_lambdas[i] * x0
            layer = None if cache is None else cache.layers[i]
            if isinstance(block, ValueBlock):
                x = block(x, self.value_embeddings[str(i)](inputs), rotary, layer)
            else:
                x = block(x, rotary, layer)
            if i == self.config.n_layer // 2:
                middle = x
        return x - self.back_out.to(x.dtype) * middle

    def product_count(self) -> int:
        """See GPT; the smear's gate is a product too."""
        return super().product_count() + self.smear.gate.weight.numel()
