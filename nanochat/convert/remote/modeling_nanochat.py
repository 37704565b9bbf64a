"""A nanochat model for transformers: both variants, without a cache of keys and values."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .configuration_nanochat import NanochatConfig

NEW = "2026-07"
SOFTCAP = 15.0


def norm(x: Tensor) -> Tensor:
    """RMS norm over the last dimension."""
    return F.rms_norm(x, (x.size(-1),), eps=1e-6)


class Attention(nn.Module):
    """Causal self-attention over a window, with rotary positions, then normed queries and keys."""

    def __init__(self, config: NanochatConfig, layer: int) -> None:
        super().__init__()
        self.head_dim = config.n_embd // config.n_head
        self.window = config.windows[layer]
        self.gain = 1.2 if config.variant == NEW else 1.0
        self.rotary_base = config.rotary_base
        self.rounded = config.variant != NEW
        self.q = nn.Linear(config.n_embd, config.n_head * self.head_dim, bias=False)
        self.k = nn.Linear(config.n_embd, config.n_kv_head * self.head_dim, bias=False)
        self.v = nn.Linear(config.n_embd, config.n_kv_head * self.head_dim, bias=False)
        self.out = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor, added: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T, C]; `added`, [B, T, Hkv, D], goes on top of the values."""
        B, T, C = x.shape
        q, k = (self.placed(linear(x).view(B, T, -1, self.head_dim)) for linear in (self.q, self.k))
        v = self.v(x).view(B, T, -1, self.head_dim)
        v = v if added is None else v + added
        back = torch.arange(T, device=x.device)[:, None] - torch.arange(T, device=x.device)
        mask = (back >= 0) if self.window is None else (back >= 0) & (back <= self.window)
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=mask,
            enable_gqa=q.size(2) != k.size(2),
        )
        return self.out(y.transpose(1, 2).reshape(B, T, C))

    def placed(self, x: Tensor) -> Tensor:
        """Rotated by position, normed; x: [B, T, H, D]."""
        T, D = x.size(1), x.size(-1)
        exponents = torch.arange(0, D, 2, dtype=torch.float32, device=x.device) / D
        angles = torch.outer(
            torch.arange(T, dtype=torch.float32, device=x.device), self.rotary_base**-exponents
        )[:, None, :]
        cos, sin = angles.cos(), angles.sin()
        if self.rounded:
            cos, sin = cos.bfloat16(), sin.bfloat16()
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        x1, x2 = x.chunk(2, dim=-1)
        return norm(torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)) * self.gain


class MLP(nn.Module):
    """Two products with relu squared between them."""

    def __init__(self, config: NanochatConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        return self.down(F.relu(self.up(x)).square())


class Block(nn.Module):
    """Attention and MLP; with a value embedding where the variant has one at this layer."""

    def __init__(self, config: NanochatConfig, layer: int, *, valued: bool) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)
        if valued:
            self.value_gate = nn.Linear(12, config.n_kv_head, bias=False)

    def forward(self, x: Tensor, embedded: Tensor | None) -> Tensor:
        """[B, T, C] -> [B, T, C]; `embedded`: [B, T, Hkv x D]."""
        seen, added = norm(x), None
        if embedded is not None:
            gate = 3.0 * torch.sigmoid(self.value_gate(seen[..., :12]))
            added = gate[..., None] * embedded.unflatten(-1, (gate.size(-1), -1))
        x = x + self.attention(seen, added)
        return x + self.mlp(norm(x))


class Smear(nn.Module):
    """Adds a share of the token before."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(24, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        gate = self.strength * torch.sigmoid(self.gate(x[:, 1:, :24]))
        return torch.cat((x[:, :1], x[:, 1:] + gate * x[:, :-1]), dim=1)


class NanochatForCausalLM(PreTrainedModel, GenerationMixin):
    """The model; logits are softcapped."""

    config_class = NanochatConfig
    _tied_weights_keys: dict[str, str] = {}  # noqa: RUF012 - it is declared so there

    def __init__(self, config: NanochatConfig) -> None:
        super().__init__(config)
        new, last = config.variant == NEW, (config.n_layer - 1) % 2
        valued = [new and i % 2 == last for i in range(config.n_layer)]
        self.embedding = nn.Embedding(config.padded_vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, i, valued=valued[i]) for i in range(config.n_layer))
        self.residual_lambdas = nn.Parameter(torch.ones(config.n_layer))
        self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        self.head = nn.Linear(config.n_embd, config.padded_vocab_size, bias=False)
        if new:
            width = config.n_kv_head * (config.n_embd // config.n_head)
            self.value_embeddings = nn.ModuleDict(
                {
                    str(i): nn.Embedding(config.padded_vocab_size, width)
                    for i in range(config.n_layer)
                    if valued[i]
                }
            )
            self.smear = Smear()
            self.back_out = nn.Parameter(torch.zeros(1))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: object) -> dict[str, object]:
        """All tokens, each time: there is no cache."""
        return {"input_ids": input_ids, "attention_mask": kwargs.get("attention_mask")}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: object,
    ) -> CausalLMOutput:
        """Logits [B, T, V] in fp32, and the loss of `labels`, which are moved by one here (-100: ignored)."""
        if attention_mask is not None and not bool(attention_mask[:, 0].all()):
            raise ValueError("attention_mask begins with 0; this model must be padded on the right")
        x = norm(self.embedding(input_ids))
        x = self.smear(x) if self.config.variant == NEW else x
        x0 = middle = x
        for i, block in enumerate(self.blocks):
            x = self.residual_lambdas[i] * x + self.x0_lambdas[i] * x0
            valued = hasattr(block, "value_gate")
            x = block(x, self.value_embeddings[str(i)](input_ids) if valued else None)
            if i == self.config.n_layer // 2:
                middle = x
        if self.config.variant == NEW:
            x = x - self.back_out * middle
        z = self.head(norm(x)).float()[..., : self.config.vocab_size]
        logits = SOFTCAP * torch.tanh(z / SOFTCAP)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutput(loss=loss, logits=logits)
