"""How each library encodes texts with merges that are given: into arrays, or into Python lists.

Imports are inside the functions: a process has only the library that it measures.
"""

import base64
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bpe.corpus import texts as texts_of
from bpe.trainers import PATTERN, Tokens

Merges = list[tuple[int, int]]
Encode = Callable[[list[str], int], Any]
"""Texts and threads to whatever the library gives; `ids_of` reads it."""
THREE_DIGITS = PATTERN.replace(r"\p{N}{1,2}", r"\p{N}{1,3}")
"""GPT-4's own pattern, the nearest one to ours that gigatoken knows."""


def read_merges(path: str) -> Merges:
    return [(left, right) for left, right in json.loads(Path(path).read_text())]


def tokens_of(merges: Merges) -> Tokens:
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def ours(merges: Merges, form: str, _: Path, pattern: str = PATTERN) -> Encode:
    import rustbpe

    made: Any = rustbpe.Tokenizer.from_merges(merges, pattern=pattern)
    if form == "lists":
        return lambda texts, threads: made.encode_batch(texts, threads=threads)
    return lambda texts, threads: made.encode_batch_to_numpy(texts, threads=threads)[0]


def ours_gpt4(merges: Merges, form: str, train: Path) -> Encode:
    """With the pattern that gigatoken is given."""
    return ours(merges, form, train, THREE_DIGITS)


def tiktoken(merges: Merges, form: str, _: Path) -> Encode:
    made = tiktoken_with(merges, PATTERN)
    if form == "lists":
        return lambda texts, threads: made.encode_ordinary_batch(texts, num_threads=threads)

    def arrays(texts: list[str], threads: int) -> Any:
        def one(text: str) -> Any:
            return made.encode_to_numpy(text, disallowed_special=())

        if threads == 1:
            return [one(text) for text in texts]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, texts))

    return arrays


def tiktoken_with(merges: Merges, pattern: str) -> Any:
    from tiktoken import Encoding

    ranks = {token: rank for rank, token in enumerate(tokens_of(merges))}
    return Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def tokenizers(merges: Merges, _: str, __: Path) -> Encode:
    from bpe.huggingface import built

    made = built(tokens_of(merges), merges)
    return lambda texts, ___: [one.ids for one in made.encode_batch_fast(texts, add_special_tokens=False)]


def rustbpe(merges: Merges, _: str, train: Path) -> Encode:
    """It cannot be given merges; on the training text it learns the same, which `bpe.exact` has compared."""
    import rustbpe

    made: Any = rustbpe.Tokenizer()
    made.train_from_iterator(texts_of(train), vocab_size=256 + len(merges), pattern=PATTERN)

    def encode(texts: list[str], threads: int) -> list[list[int]]:
        return [made.encode(text) for text in texts] if threads == 1 else made.batch_encode(texts)

    return encode


def gigatoken(merges: Merges, form: str, _: Path) -> Encode:
    import gigatoken

    lines = (b"%s %d\n" % (base64.b64encode(token), id) for id, token in enumerate(tokens_of(merges)))
    with tempfile.NamedTemporaryFile(suffix=".tiktoken") as file:
        Path(file.name).write_bytes(b"".join(lines))
        made = gigatoken.Tokenizer.from_tiktoken(file.name, "gpt4", {})
    if form == "lists":
        return lambda texts, threads: made.encode_batch_list(texts, parallel=threads > 1)
    return lambda texts, threads: made.encode_batch(texts, parallel=threads > 1)


Encoder = Callable[[Merges, str, Path], Encode]
ENCODERS: dict[str, Encoder] = {
    "ours": ours,
    "ours_gpt4": ours_gpt4,
    "tiktoken": tiktoken,
    "tokenizers": tokenizers,
    "rustbpe": rustbpe,
    "gigatoken": gigatoken,
}


def ids_of(encoded: Any) -> Any:
    """All ids of what an `Encode` gave, in one array of uint32."""
    import numpy as np

    if hasattr(encoded, "layout"):
        import awkward

        return awkward.to_numpy(awkward.flatten(encoded)).astype(np.uint32)
    if isinstance(encoded, np.ndarray):
        return encoded.astype(np.uint32)
    return np.concatenate([np.asarray(one, dtype=np.uint32) for one in encoded])
