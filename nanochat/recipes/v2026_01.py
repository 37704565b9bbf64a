"""What the inner optimizer of variant 2026-01 is set to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from nanochat.model import GPT
from nanochat.recipes.groups import (
    REFERENCE_BATCH_TOKENS,
    REFERENCE_DEPTH,
    adamw,
    batch_scale,
    check_rates,
    muon,
    width_scale,
)
from nanochat.settings import from_mapping, require


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Learning rates and constants of variant 2026-01, before their scaling by width, depth and batch."""

    variant: ClassVar[str] = "2026-01"

    embedding_lr: float = 0.3
    """AdamW rate of the embedding, times sqrt(768 / n_embd)."""
    head_lr: float = 0.004
    """AdamW rate of the head, times sqrt(768 / n_embd)."""
    x0_lr: float = 0.5
    """AdamW rate of the x0 lambdas."""
    residual_lr: float = 0.005
    """AdamW rate of the residual lambdas."""
    matrix_lr: float = 0.02
    """Muon rate, times sqrt(max(1, rows / columns))."""
    weight_decay: float = 0.2
    """Muon's cautious decay at depth 12, times (12 / depth)^2."""
    adam_betas: tuple[float, float] = (0.8, 0.95)
    """AdamW's decays, a step."""
    adam_eps: float = 1e-10
    """Added to AdamW's denominator."""
    muon_beta2: float = 0.95
    """Decay of Muon's second moment, a step."""
    batch_tokens: int = REFERENCE_BATCH_TOKENS
    """Tokens of a step B; every rate is multiplied by sqrt(B / 2^19)."""

    def __post_init__(self) -> None:
        check_rates(self)
        for value in self.adam_betas:
            require(0 <= value < 1, "optim.adam_betas", self.adam_betas, "in [0, 1)")

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from a mapping with the fields of this class; ValueError for an unknown or bad key."""
        return from_mapping(cls, "optim", values)

    def groups(self, model: GPT) -> list[dict[str, Any]]:
        """Groups of all parameters: embedding, head, both lambdas (AdamW), matrices (Muon)."""
        batch = batch_scale(self.batch_tokens)
        table = batch * width_scale(model.config.n_embd)
        constants = {"betas": self.adam_betas, "eps": self.adam_eps}
        return [
            adamw("embedding", model.embedding, self.embedding_lr * table, **constants),
            adamw("head", model.head, self.head_lr * table, **constants),
            adamw("x0_lambdas", model.x0_lambdas, self.x0_lr * batch, **constants),
            adamw("residual_lambdas", model.residual_lambdas, self.residual_lr * batch, **constants),
            muon(
                model.blocks,
                self.matrix_lr * batch,
                beta2=self.muon_beta2,
                weight_decay=self.weight_decay * (REFERENCE_DEPTH / model.config.n_layer) ** 2,
            ),
        ]
