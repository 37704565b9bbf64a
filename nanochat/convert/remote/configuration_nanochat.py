"""Configuration of a nanochat model."""

from transformers import PretrainedConfig


class NanochatConfig(PretrainedConfig):
    """Shape of a model, in either variant."""

    model_type = "curtail_nanochat"
    # transformers' own names for what is here
    attribute_map = {  # noqa: RUF012 - it is declared so there
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "num_key_value_heads": "n_kv_head",
        "max_position_embeddings": "sequence_length",
    }

    def __init__(  # noqa: PLR0913
        self,
        variant: str = "2026-01",
        n_layer: int = 20,
        n_embd: int = 1_280,
        n_head: int = 10,
        n_kv_head: int = 10,
        vocab_size: int = 65_536,
        padded_vocab_size: int = 65_536,
        sequence_length: int = 2_048,
        windows: list[int | None] | None = None,
        rotary_base: float = 10_000.0,
        **kwargs: object,
    ) -> None:
        """Windows: tokens before its own that a layer sees; None: all."""
        self.variant = variant
        self.n_layer = n_layer
        self.n_embd = n_embd
        self.n_head = n_head
        self.n_kv_head = n_kv_head
        self.vocab_size = vocab_size
        self.padded_vocab_size = padded_vocab_size
        self.sequence_length = sequence_length
        self.windows = windows if windows is not None else [None] * n_layer
        self.rotary_base = rotary_base
        kwargs.setdefault("tie_word_embeddings", False)
        kwargs.setdefault("use_cache", False)
        super().__init__(**kwargs)
