"""The text that is learned: the standard library's sources, as one stream of tokens for each split."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from nanochat import shards
from nanochat.dataset import prepare_stdlib
from nanochat.tok_train import train_tokenizer_to
from nanochat.tokenizer import Tokenizer

VOCABULARY = 2048


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Windows of `length` tokens and the token after each."""

    train: torch.Tensor
    held_out: torch.Tensor
    length: int
    hash: str
    """Of the data set's manifest."""

    def windows(self, split: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs and targets [windows, length] of these windows of a split."""
        places = numbers.unsqueeze(1) * self.length + torch.arange(self.length + 1)
        tokens = split[places % (len(split) - 1)]
        return tokens[:, :-1], tokens[:, 1:]


@cache
def prepare(root: Path, *, length: int, max_bytes: int = 10_000_000) -> Corpus:
    """Make the corpus below `root`, or take what an earlier call made."""
    manifest = prepare_stdlib(root, max_bytes=max_bytes, seed=1)
    path = train_tokenizer_to(root, vocab_size=VOCABULARY, max_chars=2_000_000, doc_cap=4_096)
    tokenizer, loaded = Tokenizer.load(path), shards.load(manifest)

    def stream(split: str) -> torch.Tensor:
        ids: list[int] = []
        for text in shards.read_texts(loaded, split):
            ids.append(tokenizer.bos_id)
            ids.extend(tokenizer.encode(text))
        return torch.tensor(ids)

    return Corpus(train=stream("train"), held_out=stream("val"), length=length, hash=loaded.hash)
