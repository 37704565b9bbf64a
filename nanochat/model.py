"""The GPT of variant 2026-01: rotary, QK norm, relu squared, residual and x0 lambdas, logit softcap."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.settings import check_known, from_mapping, require

VARIANT = "2026-01"
IGNORE_INDEX = -1
ASPECT = 64
HEAD_DIM = 128
NORM_EPS = 1e-6
ROTARY_BASE = 10_000.0
SOFTCAP = 15.0
VOCAB_MULTIPLE = 64

Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Shape of the model; `from_depth` and `from_mapping` fill in what follows from the depth."""

    n_layer: int
    """Number of blocks."""
    n_embd: int
    """Width C of the residual stream."""
    n_head: int
    """Number of query heads; head dim = n_embd / n_head."""
    n_kv_head: int
    """Number of key and value heads; below n_head it is grouped-query attention."""
    vocab_size: int = 65_536
    """Number of tokens V, specials included."""
    sequence_length: int = 2_048
    """Most tokens T the model sees at once."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require(value >= 1, f"model.{name}", value, "at least 1")
        require(
            self.n_embd % self.n_head == 0, "model.n_embd", self.n_embd, f"a multiple of n_head {self.n_head}"
        )
        require(
            self.head_dim % 2 == 0,
            "model.n_embd / model.n_head",
            self.head_dim,
            "even, for the rotary halves",
        )
        require(
            self.n_head % self.n_kv_head == 0,
            "model.n_kv_head",
            self.n_kv_head,
            f"a divisor of {self.n_head}",
        )

    @property
    def head_dim(self) -> int:
        """Width D of one head."""
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and the head: the vocabulary, rounded up to a multiple of 64."""
        return -(-self.vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

    @classmethod
    def from_depth(cls, depth: int, *, vocab_size: int = 65_536, sequence_length: int = 2_048) -> Self:
        """The recipe's shape: width 64 x depth, rounded up to whole heads of 128."""
        return cls.from_mapping(
            {"depth": depth, "vocab_size": vocab_size, "sequence_length": sequence_length}
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from the run file's `model` section.

        Args:
            values: The fields of this class; `depth` may stand for `n_layer`, `variant` must be 2026-01.
                Without `n_embd` it is 64 x depth rounded up to a multiple of 128; without `n_head` heads
                have 128 columns; without `n_kv_head` it is `n_head`.

        Raises:
            ValueError: A key is unknown, missing or bad; one line.
        """
        check_known("model", values, ["depth", "variant", *(field.name for field in fields(cls))])
        given = dict(values)
        variant = given.pop("variant", VARIANT)
        require(variant == VARIANT, "model.variant", variant, VARIANT)
        require(
            ("depth" in given) != ("n_layer" in given),
            "model.depth",
            given.get("depth"),
            "given, or n_layer is",
        )
        depth = given.pop("depth", None)
        given["n_layer"] = depth if depth is not None else given["n_layer"]
        return from_mapping(cls, "model", _with_derived(given))


def _with_derived(given: dict[str, object]) -> dict[str, object]:
    # The order matters: where several values are wrong, the one that the others follow from is named.
    layers = given["n_layer"]
    if not isinstance(layers, int) or isinstance(layers, bool):
        raise ValueError(f"model.n_layer is {layers!r}; it must be a whole number")  # noqa: TRY004 - user input
    width = given.get("n_embd", max(1, -(-layers * ASPECT // HEAD_DIM)) * HEAD_DIM)
    heads = given.get("n_head", max(1, width // HEAD_DIM) if isinstance(width, int) else 1)
    return {"n_layer": layers, "n_embd": width, "n_head": heads, "n_kv_head": heads, **given}


def norm(x: Tensor) -> Tensor:  # x: [..., C]
    """RMS norm over the last dimension, without parameters."""
    return F.rms_norm(x, (x.size(-1),), eps=NORM_EPS)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # x: [B, T, H, D]; cos, sin: [T, 1, D / 2]
    """Rotary embedding of the two halves: y1 = x1 cos + x2 sin, y2 = -x1 sin + x2 cos."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


def rotary_tables(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """(cos, sin), each [length, 1, head_dim / 2] in fp32, of values rounded to bf16 as in the recipe."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), ROTARY_BASE**-exponents)
    return angles.cos().bfloat16().float()[:, None, :], angles.sin().bfloat16().float()[:, None, :]


class Attention(nn.Module):
    """Causal self-attention over the full context; queries and keys are rotated, then normed."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.grouped = config.n_kv_head != config.n_head
        self.q = nn.Linear(config.n_embd, config.n_head * config.head_dim, bias=False)
        self.k = nn.Linear(config.n_embd, config.n_kv_head * config.head_dim, bias=False)
        self.v = nn.Linear(config.n_embd, config.n_kv_head * config.head_dim, bias=False)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        B, T, C = x.shape
        q = norm(rotate(self.q(x).view(B, T, -1, self.head_dim), cos, sin))  # [B, T, H, D]
        k = norm(rotate(self.k(x).view(B, T, -1, self.head_dim), cos, sin))  # [B, T, Hkv, D]
        v = self.v(x).view(B, T, -1, self.head_dim)  # [B, T, Hkv, D]
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            is_causal=True,
            enable_gqa=self.grouped,
        )  # [B, H, T, D]
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    """Two products with relu squared between them, four times as wide inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """x <- x + attention(norm(x)), then x <- x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # x: [B, T, C]
        """[B, T, C] -> [B, T, C]."""
        x = x + self.attention(norm(x), cos, sin)
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    """The language model; fp32 weights, fp32 arithmetic unless the caller opens an autocast region.

    Built on the meta device it has shapes only. Otherwise its weights follow from `seed` alone, on any
    device: they are drawn on the CPU, in the order of this file, from a generator of their own.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.padded_vocab_size, config.n_embd)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.residual_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
        cos, sin = rotary_tables(10 * config.sequence_length, config.head_dim)
        self.register_buffer("cos", cos.to(self.head.weight.device), persistent=False)
        self.register_buffer("sin", sin.to(self.head.weight.device), persistent=False)
        if not self.head.weight.is_meta:
            self._initialize(seed)

    @torch.no_grad()
    def _initialize(self, seed: int) -> None:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        bound = (3 / self.config.n_embd) ** 0.5  # a uniform on [-bound, bound] has std 1 / sqrt(n_embd)

        def normal(weight: Tensor, std: float) -> None:
            weight.copy_(torch.empty(weight.shape, device="cpu").normal_(0.0, std, generator=generator))

        def uniform(weight: Tensor) -> None:
            weight.copy_(torch.empty(weight.shape, device="cpu").uniform_(-bound, bound, generator=generator))

        normal(self.embedding.weight, 1.0)
        for block in self.typed_blocks():
            uniform(block.attention.q.weight)
            uniform(block.attention.k.weight)
            uniform(block.attention.v.weight)
            nn.init.zeros_(block.attention.out.weight)
            uniform(block.mlp.up.weight)
            nn.init.zeros_(block.mlp.down.weight)
        normal(self.head.weight, 0.001)

    def typed_blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def logits(self, inputs: Tensor) -> Tensor:  # inputs: [B, T] int64
        """Softcapped logits [B, T, V] in fp32."""
        T = inputs.size(1)
        require(self.cos.size(0) >= T, "the sequence length", T, f"at most {self.cos.size(0)}")
        x = self.embedding(inputs)  # [B, T, C]
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        cos, sin = self.cos[:T].to(x.dtype), self.sin[:T].to(x.dtype)  # [T, 1, D / 2]
        x = norm(x)
        x0 = x
        for i, block in enumerate(self.blocks):
            x = self.residual_lambdas[i] * x + self.x0_lambdas[i] * x0
            x = block(x, cos, sin)
        z = self.head(norm(x)).float()  # [B, T, padded V]
        if z.size(-1) != self.config.vocab_size:  # the gradient of a crop is a copy: only where it is needed
            z = z[..., : self.config.vocab_size]
        return SOFTCAP * torch.tanh(z / SOFTCAP)

    def forward(self, inputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Cross-entropy in nats; targets of -1 count for nothing.

        Args:
            inputs: [B, T] int64 token ids.
            targets: [B, T] int64, the token after each input.
            reduction: `mean` and `sum` over the counted targets: []; `none`: [B * T], 0 where ignored.
        """
        z = self.logits(inputs)  # [B, T, V]
        return F.cross_entropy(
            z.flatten(0, 1), targets.flatten(), ignore_index=IGNORE_INDEX, reduction=reduction
        )

    def flops_per_token(self) -> int:
        """Operations of forward and backward for a token: 6 per weight in a product, plus attention."""
        config = self.config
        products = sum(p.numel() for p in self.blocks.parameters()) + self.head.weight.numel()
        attention = 12 * config.n_layer * config.n_head * config.head_dim * config.sequence_length
        return 6 * products + attention

    def parameter_count(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.parameters())


def plain(config: GPTConfig) -> dict[str, Any]:
    """The configuration as a mapping that `GPTConfig.from_mapping` takes."""
    return asdict(config)
