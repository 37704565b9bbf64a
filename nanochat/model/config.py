"""The shape of a model, and what follows from its depth and its variant."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from nanochat.settings import check_known, from_mapping, require

ASPECT = 64
HEAD_DIM = 128
VOCAB_MULTIPLE = 64
WINDOW_TILE = 128


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a variant fills in where the run file is silent, and how long its short window is."""

    vocab_size: int
    window_pattern: str
    short_share: int
    """A short window is the sequence divided by this, ..."""
    short_multiple: int
    """... rounded up to a multiple of this."""


VARIANTS = {
    "2026-01": Variant(vocab_size=65_536, window_pattern="L", short_share=2, short_multiple=1),
    "2026-07": Variant(vocab_size=32_768, window_pattern="SSSL", short_share=4, short_multiple=WINDOW_TILE),
}


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Shape of the model; `from_depth` and `from_mapping` fill in what follows from depth and variant."""

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
    """Most tokens T the model sees at once in training."""
    variant: str = "2026-01"
    """Which recipe: 2026-01 or 2026-07."""
    window_pattern: str = "L"
    """Windows of the layers, repeated: L sees everything before, S a part; the last layer is always L."""

    def __post_init__(self) -> None:
        require(self.variant in VARIANTS, "model.variant", self.variant, " or ".join(VARIANTS))
        for name in ("n_layer", "n_embd", "n_head", "n_kv_head", "vocab_size", "sequence_length"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")
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
        letters = bool(self.window_pattern) and set(self.window_pattern) <= {"S", "L"}
        require(letters, "model.window_pattern", self.window_pattern, "letters S and L, such as SSSL")

    @property
    def head_dim(self) -> int:
        """Width D of one head."""
        return self.n_embd // self.n_head

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and the head: the vocabulary, rounded up to a multiple of 64."""
        return -(-self.vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How far back each layer sees, in tokens beside its own; None: to the beginning."""
        variant = VARIANTS[self.variant]
        step = variant.short_share * variant.short_multiple
        short = -(-self.sequence_length // step) * variant.short_multiple
        pattern = self.window_pattern
        tiled = [short if pattern[i % len(pattern)] == "S" else None for i in range(self.n_layer)]
        return (*tiled[:-1], None)

    @classmethod
    def from_depth(
        cls,
        depth: int,
        *,
        vocab_size: int | None = None,
        sequence_length: int = 2_048,
        variant: str = "2026-01",
    ) -> Self:
        """The recipe's shape: width 64 x depth, rounded up to whole heads of 128."""
        given = {"depth": depth, "sequence_length": sequence_length, "variant": variant}
        return cls.from_mapping(given if vocab_size is None else {**given, "vocab_size": vocab_size})

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> Self:
        """Build from the run file's `model` section.

        Args:
            values: The fields of this class; `depth` may stand for `n_layer`. Without `n_embd` it is
                64 x depth rounded up to a multiple of 128; without `n_head` heads have 128 columns; without
                `n_kv_head` it is `n_head`; vocabulary and windows are the variant's.

        Raises:
            ValueError: A key is unknown, missing or bad; one line.
        """
        check_known("model", values, ["depth", *(field.name for field in fields(cls))])
        given = dict(values)
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
    variant = given.get("variant", "2026-01")
    require(variant in VARIANTS, "model.variant", variant, " or ".join(VARIANTS))
    layers = given["n_layer"]
    if not isinstance(layers, int) or isinstance(layers, bool):
        raise ValueError(f"model.n_layer is {layers!r}; it must be a whole number")  # noqa: TRY004 - user input
    width = given.get("n_embd", max(1, -(-layers * ASPECT // HEAD_DIM)) * HEAD_DIM)
    heads = given.get("n_head", max(1, width // HEAD_DIM) if isinstance(width, int) else 1)
    own = VARIANTS[str(variant)]
    usual = {"vocab_size": own.vocab_size, "window_pattern": own.window_pattern}
    return {"n_layer": layers, "n_embd": width, "n_head": heads, "n_kv_head": heads, **usual, **given}


def plain(config: GPTConfig) -> dict[str, Any]:
    """The configuration as a mapping that `GPTConfig.from_mapping` takes."""
    return asdict(config)
