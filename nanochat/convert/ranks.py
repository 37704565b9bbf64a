"""A tokenizer from tiktoken's mergeable ranks.

A file of ranks has a token a line, in base64, and its rank. The original keeps a pickle instead, which is not
opened here, since opening it runs what it says; where the original runs, it is exported by

    import base64, pickle
    encoding = pickle.load(open("tokenizer.pkl", "rb"))
    with open("tokenizer.tiktoken", "wb") as file:
        for token, rank in encoding._mergeable_ranks.items():
            file.write(base64.b64encode(token) + b" %d\\n" % rank)
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

import rustbpe
from nanochat.settings import require
from nanochat.tokenizer import SPECIAL_TOKENS, Tokenizer

BYTES = 256


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a file of ranks. Raises ValueError if it is missing or is none; names the line."""
    require(
        path.suffix != ".pkl",
        "the tokenizer",
        str(path),
        "a file of ranks: export it, as nanochat/convert/ranks.py shows",
    )
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ValueError(
            f"{path} is unreadable ({error.strerror}); it must be a file of tiktoken's ranks"
        ) from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"{path}, line {number} is no token and its rank ({error}): export it again"
            ) from error
    return ranks


def tokenizer_of(ranks: Mapping[bytes, int]) -> Tokenizer:
    """The tokenizer that encodes as tiktoken would with these ranks, our pattern and our special tokens.

    Raises:
        ValueError: The ranks are not 0, 1, 2, ...; the first 256 are not the bytes in their order; or a token
            is not made of two of lower rank.
    """
    tokens = sorted(ranks, key=lambda token: ranks[token])
    require(
        [ranks[token] for token in tokens] == list(range(len(tokens))),
        "the ranks",
        "with gaps",
        "0, 1, 2, ...",
    )
    holds = tokens[:BYTES] == [bytes([i]) for i in range(BYTES)]
    require(holds, "the first 256 tokens", "others", "the bytes in their order, as nanochat has them")
    return Tokenizer(rustbpe.Tokenizer.from_tiktoken(ranks, special_tokens=SPECIAL_TOKENS))
