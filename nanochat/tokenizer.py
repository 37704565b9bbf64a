"""The tokenizer: byte-pair encoding by rustbpe, with the special tokens of the chat format."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

import rustbpe
from nanochat.documents import Documents
from nanochat.settings import require

BOS = "<|bos|>"
SPECIAL_TOKENS = (
    BOS,
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)
ENCODING_THREADS = 2
"""Threads that share the texts of one call: a rank's loader has no more cores to itself as a rule."""
LEAST_VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)


class Tokenizer:
    """Encodes text; owns nothing but the trained merges."""

    def __init__(self, bpe: rustbpe.Tokenizer) -> None:
        self._bpe = bpe
        missing = [name for name in SPECIAL_TOKENS if name not in bpe.special_tokens]
        require(not missing, "the tokenizer's lack of special tokens", missing, "empty: train it again")
        self.bos_id: int = bpe.special_tokens[BOS]
        """The token every document begins with."""

    @property
    def bpe(self) -> rustbpe.Tokenizer:
        """What encodes; it never changes."""
        return self._bpe

    @property
    def vocab_size(self) -> int:
        """Number of tokens, specials included."""
        return self._bpe.vocab_size

    @property
    def hash(self) -> str:
        """Identity of the tokenizer: equal for equal merges, pattern and specials."""
        return self._bpe.hash

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; what looks like a special token is plain text."""
        return self._bpe.encode(text)

    def documents(self, texts: Sequence[str]) -> Documents:
        """The texts as documents, one after the other in one array; special tokens are plain text."""
        # The empty text at the end gives the bos after the last document.
        ids, offsets = self._bpe.encode_batch_to_numpy(
            [*texts, ""], prepend=self.bos_id, threads=min(len(texts), ENCODING_THREADS) or 1
        )
        return Documents(tokens=ids, starts=offsets[:-1])

    def encode_special(self, text: str) -> list[int]:
        """Token ids of `text`, in which special tokens mean what they say."""
        return self._bpe.encode(text, allowed_special="all")

    def decode(self, ids: list[int]) -> str:
        """Text of the ids; bytes that are not UTF-8 are replaced."""
        return self._bpe.decode(ids)

    def token_bytes(self) -> Tensor:
        """[V] int64 on the CPU: the bytes of each token, 0 for specials."""
        specials = set(self._bpe.special_tokens.values())
        lengths = [0 if i in specials else len(self._bpe.token_bytes(i)) for i in range(self.vocab_size)]
        return torch.tensor(lengths, dtype=torch.int64)

    def save(self, path: Path) -> None:
        """Write the tokenizer, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._bpe.save(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises ValueError if it is missing or is no tokenizer."""
        try:
            return cls(rustbpe.Tokenizer.load(path))
        except OSError as error:
            raise ValueError(
                f"tokenizer {path} is unreadable ({error.strerror}); it must exist: run nanochat.tok_train"
            ) from error


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, doc_cap: int, max_chars: int) -> Tokenizer:
    """Train on the head of `texts`.

    Args:
        texts: Documents.
        vocab_size: Tokens, the special ones included; at least 265.
        doc_cap: Use at most so many characters of a document.
        max_chars: Stop after so many characters.
    """
    require(vocab_size >= LEAST_VOCAB_SIZE, "vocab_size", vocab_size, f"at least {LEAST_VOCAB_SIZE}")
    require(doc_cap >= 1, "doc_cap", doc_cap, "at least 1")
    require(max_chars >= 1, "max_chars", max_chars, "at least 1")
    head = _head(texts, doc_cap, max_chars)
    return Tokenizer(rustbpe.Tokenizer.train(head, vocab_size, special_tokens=SPECIAL_TOKENS))


def _head(texts: Iterable[str], doc_cap: int, max_chars: int) -> Iterator[str]:
    left = max_chars
    for text in texts:
        piece = text[: min(doc_cap, left)]
        left -= len(piece)
        yield piece
        if left <= 0:
            return
