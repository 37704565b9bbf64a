"""What the inner optimizer of variant 2026-07 is set to, how long it trains, and in what batches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from nanochat.model import GPT, GPTConfig
from nanochat.model.v2026_07 import GPT202607, VALUE_GATE_WIDTH, value_layers
from nanochat.recipes.groups import (
    REFERENCE_BATCH_TOKENS,
    REFERENCE_DEPTH,
    adamw,
    batch_scale,
    check_rates,
    muon,
    width_scale,
)
from nanochat.schedule import Schedule
from nanochat.settings import from_mapping, require

TOKENS_PER_PARAMETER = 12
BATCH_EXPONENT = 0.383
NORM_MARGIN = 1.01
PUBLISHED_STEPS = 23_400
WARMUP_STEPS, MOMENTUM_STEPS = 40, 400


@dataclass(frozen=True, kw_only=True)
class OptimConfig202607:
    """Learning rates and constants of variant 2026-07, before their scaling by width, horizon and batch."""

    variant: ClassVar[str] = "2026-07"

    embedding_lr: float = 0.3
    """AdamW rate of the embedding, times sqrt(768 / n_embd); value embeddings have half of it."""
    head_lr: float = 0.008
    """AdamW rate of the head, times sqrt(768 / n_embd)."""
    x0_lr: float = 0.5
    """AdamW rate of the x0 lambdas."""
    residual_lr: float = 0.005
    """AdamW rate of the residual lambdas."""
    entry_lr: float = 0.2
    """AdamW rate of smear and back-out; the batch does not scale it."""
    matrix_lr: float = 0.02
    """Muon rate, times sqrt(max(1, rows / columns))."""
    weight_decay: float = 0.28
    """Muon's cautious decay at 2^19 tokens and depth 12, times sqrt(B / 2^19) x (D_12 / D)."""
    adam_eps: float = 1e-10
    """Added to AdamW's denominator."""
    muon_beta2: float = 0.9
    """Decay of Muon's second moment, a step."""
    batch_tokens: int = REFERENCE_BATCH_TOKENS
    """Tokens of a step B; all other rates are multiplied by sqrt(B / 2^19)."""

    def __post_init__(self) -> None:
        check_rates(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from a mapping with the fields of this class; ValueError for an unknown or bad key."""
        return from_mapping(cls, "optim", values)

    def groups(self, model: GPT) -> list[dict[str, Any]]:
        """Groups of all parameters: embeddings, head, lambdas, entry (AdamW), matrices (Muon)."""
        if not isinstance(model, GPT202607):
            raise TypeError(f"the model is a {type(model).__name__}; it must be a {GPT202607.__name__}")
        batch, eps = batch_scale(self.batch_tokens), self.adam_eps
        table = batch * width_scale(model.config.n_embd)
        embedding = self.embedding_lr * table
        entry = [*model.smear.parameters(), model.back_out]
        residual = self.residual_lr * batch
        own = horizon_tokens(model.config)
        decay = self.weight_decay * batch * horizon_tokens(_at_reference_depth(model.config)) / own
        return [
            adamw("embedding", model.embedding, embedding, betas=(0.8, 0.995), eps=eps, weight_decay=0.001),
            adamw(
                "value_embeddings",
                model.value_embeddings,
                embedding / 2,
                betas=(0.8, 0.995),
                eps=eps,
                weight_decay=0.01,
            ),
            adamw("head", model.head, self.head_lr * table, betas=(0.8, 0.96), eps=eps, weight_decay=0.01),
            adamw("x0_lambdas", model.x0_lambdas, self.x0_lr * batch, betas=(0.96, 0.95), eps=eps),
            adamw(
                "residual_lambdas",
                model.residual_lambdas,
                residual,
                betas=(0.8, 0.95),
                eps=eps,
                weight_decay=0.05,
            ),
            adamw("entry", entry, self.entry_lr, betas=(0.8, 0.95), eps=eps),
            muon(
                model.blocks,
                self.matrix_lr * batch,
                beta2=self.muon_beta2,
                weight_decay=decay,
                norm_margin=NORM_MARGIN,
                balanced=True,
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class Schedule202607(Schedule):
    """Variant 2026-07: a short warm-up, a long warm-down, in which the momentum falls too; a cosine's decay.

    The shares of warm-ups are those of a run of 23,400 steps; `for_steps` gives those of another.
    """

    warmup_share: float = WARMUP_STEPS / PUBLISHED_STEPS
    warmdown_share: float = 0.65
    final_lr_factor: float = 0.05
    momentum_end: float = 0.97
    momentum_warmup_share: float = MOMENTUM_STEPS / PUBLISHED_STEPS
    momentum_final: float = 0.90
    """Muon's momentum at the end of the warm-down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.momentum_final < 1, "schedule.momentum_final", self.momentum_final, "in [0, 1)")

    @classmethod
    def for_steps(cls, steps: int) -> Self:
        """Warm-ups of 40 and 400 steps, or of what there is before the warm-down."""
        most = 1 - cls.warmdown_share
        shares = {"warmup_share": WARMUP_STEPS / steps, "momentum_warmup_share": MOMENTUM_STEPS / steps}
        return cls(**{name: min(share, most) for name, share in shares.items()})

    def muon_momentum(self, progress: float) -> float:
        """Muon's momentum."""
        warm = super().muon_momentum(progress)
        into = min(progress, 1.0) - (1 - self.warmdown_share)
        if into <= 0:
            return warm
        return warm + into / self.warmdown_share * (self.momentum_final - warm)

    def weight_decay_factor(self, progress: float) -> float:
        """Factor of Muon's weight decay: (1 + cos(pi p)) / 2."""
        return (1 + math.cos(math.pi * (1 - super().weight_decay_factor(progress)))) / 2


def scaling_parameters(config: GPTConfig) -> int:
    """Weights by which the horizon is measured: the blocks' and the head's."""
    width, kv = config.n_embd, config.n_kv_head * config.head_dim
    block = 2 * width * width + 2 * width * kv + 8 * width * width
    gates = len(value_layers(config.n_layer)) * config.n_kv_head * VALUE_GATE_WIDTH
    return config.n_layer * block + gates + config.padded_vocab_size * width


def horizon_tokens(config: GPTConfig) -> int:
    """Tokens D that this shape is trained on: 12 for each scaling parameter."""
    return TOKENS_PER_PARAMETER * scaling_parameters(config)


def batch_tokens(config: GPTConfig) -> int:
    """Tokens of a step: 2^19 x (D / D_12)^.383, rounded to the nearest power of two."""
    ratio = horizon_tokens(config) / horizon_tokens(_at_reference_depth(config))
    return 2 ** round(math.log2(REFERENCE_BATCH_TOKENS * ratio**BATCH_EXPONENT))


def _at_reference_depth(config: GPTConfig) -> GPTConfig:
    return GPTConfig.from_depth(REFERENCE_DEPTH, vocab_size=config.vocab_size, variant=config.variant)
