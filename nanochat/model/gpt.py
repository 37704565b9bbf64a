"""What the variants of the GPT share: embedding, blocks, lambdas, softcapped head, loss, operations."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from curtail_kernels.dispatch import Means
from torch import Tensor, nn

from nanochat.model.cache import Cache
from nanochat.model.config import GPTConfig
from nanochat.model.layers import Block, Rotary, norm
from nanochat.settings import require

IGNORE_INDEX = -1
SOFTCAP = 15.0
HEAD_STD = 0.001
TABLE_FACTOR = 10
"""The rotary tables reach so many times further than the training's windows."""

Reduction = Literal["mean", "sum", "none"]


class GPT(nn.Module):
    """A language model; fp32 weights, fp32 arithmetic unless the caller opens an autocast region.

    A variant gives the blocks, the rotary tables, what goes on between the embedding and the last norm, and
    the weights at the start. `nanochat.model.build_model` builds one.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, blocks: Sequence[Block], tables: Rotary, means: Means) -> None:
        super().__init__()
        self.config = config
        self.means = means
        self.embedding = nn.Embedding(config.padded_vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(blocks)
        self.residual_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
        self.register_buffer("cos", tables.cos.to(self.head.weight.device), persistent=False)
        self.register_buffer("sin", tables.sin.to(self.head.weight.device), persistent=False)

    @abstractmethod
    def initialize(self, seed: int) -> None:
        """Draw the weights at the start: they follow from `seed` alone, on any device."""

    @abstractmethod
    def stream(self, inputs: Tensor, x: Tensor, rotary: Rotary, cache: Cache | None) -> Tensor:
        """The residual stream, from the normed embedding to just before the last norm.

        Args:
            inputs: [B, T] int64 token ids.
            x: [B, T, C], their embedding, normed.
            rotary: Tables of the T positions, in x's dtype.
            cache: Of the tokens before; None: there are none, and none will follow.

        Returns:
            [B, T, C].
        """

    def logits(self, inputs: Tensor, cache: Cache | None = None) -> Tensor:  # inputs: [B, T] int64
        """Softcapped logits [B, T, V] in fp32; with a cache the inputs go on where it ends."""
        z = self.head(self._features(inputs, cache)).float()  # [B, T, padded V]
        if z.size(-1) != self.config.vocab_size:  # the gradient of a crop is a copy: only where it is needed
            z = z[..., : self.config.vocab_size]
        return SOFTCAP * torch.tanh(z / SOFTCAP)

    def _features(self, inputs: Tensor, cache: Cache | None) -> Tensor:
        """What the head sees, [B, T, C]."""
        start, T = (0 if cache is None else cache.length), inputs.size(1)
        end = start + T
        require(self.cos.size(0) >= end, "the sequence length", end, f"at most {self.cos.size(0)}")
        if cache is not None:
            cache.make_room(T)
        x = self.embedding(inputs)  # [B, T, C]
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rotary = Rotary(self.cos[start:end].to(x.dtype), self.sin[start:end].to(x.dtype))
        return norm(self.stream(inputs, norm(x), rotary, cache))

    def forward(self, inputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Cross-entropy in nats; targets of -1 count for nothing.

        Args:
            inputs: [B, T] int64 token ids.
            targets: [B, T] int64, the token after each input.
            reduction: `mean` and `sum` over the counted targets: []; `none`: [B * T], 0 where ignored.
        """
        if self.means.fused:
            from curtail_kernels.head import head_loss

            weight = self.head.weight[: self.config.vocab_size]
            x = self._features(inputs, None)
            return head_loss(x, weight, targets, softcap=SOFTCAP, reduction=reduction)
        z = self.logits(inputs)  # [B, T, V]
        return F.cross_entropy(
            z.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction=reduction
        )

    def flops_per_token(self) -> int:
        """Operations of forward and backward for a token: 6 per weight in a product, plus attention.

        Attention is 12 x heads x head dim x min(window, T) for each layer (PaLM, arXiv 2204.02311,
        appendix B): as if every token had its whole window before it.
        """
        config = self.config
        most = config.sequence_length
        seen = sum(most if window is None else min(window, most) for window in config.windows)
        return 6 * self.product_count() + 12 * config.n_head * config.head_dim * seen

    def product_count(self) -> int:
        """Number of weights that a token is multiplied by: all but the tables that it is looked up in."""
        return sum(p.numel() for p in self.blocks.parameters()) + self.head.weight.numel()

    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.parameters())


class Draw:
    """Weights from one generator on the CPU, so that device and order of other draws do not matter."""

    def __init__(self, seed: int) -> None:
        """Seed the generator."""
        self._generator = torch.Generator(device="cpu").manual_seed(seed)

    def normal(self, weight: Tensor, std: float) -> None:
        """Fill with a normal of mean 0."""
        weight.copy_(torch.empty(weight.shape, device="cpu").normal_(0.0, std, generator=self._generator))

    def uniform(self, weight: Tensor, low: float, high: float) -> None:
        """Fill with a uniform on [low, high]."""
        weight.copy_(torch.empty(weight.shape, device="cpu").uniform_(low, high, generator=self._generator))


def uniform_bound(n_embd: int) -> float:
    """The bound b of a uniform on [-b, b] whose standard deviation is 1 / sqrt(n_embd)."""
    return (3 / n_embd) ** 0.5
