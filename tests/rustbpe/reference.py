"""Byte-pair encoding as it is defined, slow and plain, to compare the fast one with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import regex

Pair = tuple[int, int]


def split(text: str, pattern: str) -> list[str]:
    """The pieces of `text`."""
    return [match.group() for match in regex.finditer(pattern, text)]


def replace(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    """`tokens` with `pair` replaced by `token`, from left to right."""
    out: list[int] = []
    for right in tokens:
        if out and (out[-1], right) == pair:
            out[-1] = token
            # What was just made cannot be a left half: `token` is younger than both halves of `pair`.
        else:
            out.append(right)
    return out


def train(texts: Iterable[str], merges_count: int, pattern: str) -> list[Pair]:
    """Up to `merges_count` merges; fewer where every piece has become one token."""
    pieces = Counter(piece for text in texts for piece in split(text, pattern))
    words = [(list(piece.encode()), count) for piece, count in pieces.items()]
    merges: list[Pair] = []
    while len(merges) < merges_count:
        counts: Counter[Pair] = Counter()
        for tokens, weight in words:
            for pair in pairwise(tokens):
                counts[pair] += weight
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [(replace(tokens, best, 256 + len(merges)), weight) for tokens, weight in words]
        merges.append(best)
    return merges


def encode(text: str, merges: Sequence[Pair], pattern: str) -> list[int]:
    """The ids of `text`: every merge in turn, in every piece."""
    ids: list[int] = []
    for piece in split(text, pattern):
        tokens = list(piece.encode())
        for index, pair in enumerate(merges):
            tokens = replace(tokens, pair, 256 + index)
        ids += tokens
    return ids
