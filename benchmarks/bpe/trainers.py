"""How each library learns a vocabulary from an iterator of texts, and the tokens it learnt, in order.

Imports are inside the functions: a process has only the library that it measures.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bpe.corpus import END

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
Tokens = list[bytes]
Trainer = Callable[[Iterator[str], Path, int, int], Callable[[], Tokens]]
"""Texts, the file they come from, vocabulary size, threads: trains, and returns what gives the tokens."""


def ours(texts: Iterator[str], _: Path, vocabulary: int, threads: int) -> Callable[[], Tokens]:
    import rustbpe

    made = rustbpe.Tokenizer.train(texts, vocabulary, threads=threads)
    return lambda: [made.token_bytes(id) for id in range(made.vocab_size)]


def rustbpe(texts: Iterator[str], _: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    import rustbpe

    made: Any = rustbpe.Tokenizer()
    made.train_from_iterator(texts, vocab_size=vocabulary, pattern=PATTERN)
    return lambda: in_order({bytes(token): rank for token, rank in made.get_mergeable_ranks()})


def bpeasy(texts: Iterator[str], _: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    import bpeasy

    made = bpeasy.train_bpe(texts, PATTERN, 1 << 30, vocabulary)
    return lambda: in_order(made)


def tokenizers(texts: Iterator[str], _: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    from tokenizers import pre_tokenizers, trainers

    from bpe.huggingface import empty, to_bytes

    made, alphabet = empty(), pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    return lambda: in_order({to_bytes(token): rank for token, rank in made.get_vocab().items()})


def gigatoken(_: Iterator[str], path: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    """Knows GPT-2's split only, and reads the file itself, which costs it less than an iterator would."""
    import gigatoken

    made, _merges = gigatoken.train_bpe(path, vocabulary, [], separator=END)
    return lambda: [made[rank] for rank in sorted(made)]


def ffbpe(texts: Iterator[str], _: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    return ffbpe_with(texts, vocabulary, PATTERN)


def ffbpe_gpt2(texts: Iterator[str], _: Path, vocabulary: int, __: int) -> Callable[[], Tokens]:
    """With the split that it is fastest at."""
    return ffbpe_with(texts, vocabulary, None)


def ffbpe_with(texts: Iterator[str], vocabulary: int, pattern: str | None) -> Callable[[], Tokens]:
    from ffbpe import BpeTrainer, PreTokenizer

    counter = PreTokenizer([], pat_str=pattern).word_counter()
    counter.add_source(texts)
    trainer = BpeTrainer([], unit="byte")
    trainer.add_word_counter(counter)
    trainer.train(vocabulary)
    return lambda: in_order(trainer.vocab)


def in_order(ranks: dict[bytes, int]) -> Tokens:
    return sorted(ranks, key=lambda token: ranks[token])


TRAINERS: dict[str, Trainer] = {
    "ours": ours,
    "rustbpe": rustbpe,
    "tokenizers": tokenizers,
    "bpeasy": bpeasy,
    "gigatoken": gigatoken,
    "ffbpe": ffbpe,
    "ffbpe_gpt2": ffbpe_gpt2,
}
