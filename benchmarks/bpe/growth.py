"""How the distinct pieces of a text grow with its length, and training on a stream as long as one likes.

The stream is the training text again and again; after the first pass the letters of some lines are exchanged,
so that there are always new pieces. It is never stored.
"""

import random
import string
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from bpe.corpus import texts

LINES_PER_CHANGE = 20
CIPHERS = 256
SEED = 7


def perturbed(path: Path, number: int) -> Iterator[str]:
    """One pass over a text; pass 0 is the text itself, later ones differ from it and from each other."""
    if number == 0:
        yield from texts(path)
        return
    chance = random.Random(SEED + number)
    ciphers = [cipher(chance) for _ in range(CIPHERS)]
    for text in texts(path):
        lines = text.split("\n")
        at = chance.randrange(2 * LINES_PER_CHANGE)
        while at < len(lines):
            lines[at] = lines[at].translate(ciphers[chance.randrange(CIPHERS)])
            at += chance.randrange(1, 2 * LINES_PER_CHANGE)
        yield "\n".join(lines)


def cipher(chance: random.Random) -> dict[int, int]:
    letters = list(string.ascii_lowercase)
    chance.shuffle(letters)
    return str.maketrans(string.ascii_lowercase, "".join(letters))


def distinct(asked: dict[str, Any]) -> list[dict[str, float]]:
    """Characters, bytes, and distinct pieces at each doubling of the text, then after each further pass."""
    import rustbpe

    split = rustbpe.Tokenizer.from_merges([]).split
    path = Path(asked["path"])
    seen, found = set[str](), list[dict[str, float]]()
    characters = size = piece_bytes = 0
    marks = iter(asked["marks"])
    mark = next(marks)
    for number in range(asked["passes"]):
        for text in perturbed(path, number):
            characters += len(text)
            size += len(text.encode())
            fresh = set(split(text)) - seen
            seen |= fresh
            piece_bytes += sum(len(piece.encode()) for piece in fresh)
            if size >= mark:
                found.append(row(number, characters, size, len(seen), piece_bytes))
                mark = next(marks, float("inf"))
        found.append(row(number, characters, size, len(seen), piece_bytes))
    return found


def row(number: int, characters: int, size: int, pieces: int, piece_bytes: int) -> dict[str, float]:
    return {
        "pass": number,
        "characters": characters,
        "bytes": size,
        "pieces": pieces,
        "piece_bytes": piece_bytes,
    }


def stream(asked: dict[str, Any]) -> dict[str, Any]:
    """Train ours on so many passes, or on the head of the first one, and tell its peak of memory."""
    import rustbpe
    from bpe.work import memory_mb

    path, read = Path(asked["path"]), {"characters": 0, "bytes": 0}

    def counted() -> Iterator[str]:
        limit = asked.get("limit_bytes", float("inf"))
        for text in chain.from_iterable(perturbed(path, number) for number in range(asked["passes"])):
            if read["bytes"] >= limit:
                return
            read["characters"] += len(text)
            read["bytes"] += len(text.encode())
            yield text

    before = memory_mb("VmRSS")
    began = time.monotonic()
    rustbpe.Tokenizer.train(counted(), asked["vocabulary"], threads=asked["threads"])
    return {
        **read,
        "seconds": time.monotonic() - began,
        "peak_mb": memory_mb("VmHWM"),
        "before_mb": before,
    }
