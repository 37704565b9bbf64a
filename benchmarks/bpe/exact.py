"""Hashes of what a library makes of the same input, so that two processes can be compared."""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bpe import corpus, nasty
from bpe.encoders import ENCODERS, ids_of, read_merges, tiktoken_with

GROUP = 500
OURS = "ours"
CLASSES = {"letter": r"\p{L}", "number": r"\p{N}", "space": r"\s"}
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"


def ids(asked: dict[str, Any]) -> dict[str, Any]:
    """A hash for each group of documents of the training text and the new text."""
    paths = [Path(asked["train"]), Path(asked["new"])]
    return hashes(asked, chain.from_iterable(map(corpus.texts, paths)))


def strings(asked: dict[str, Any]) -> dict[str, Any]:
    """A hash for each group of nasty strings; ours must refuse those that have surrogates, as they are."""
    made = list(nasty.strings(asked["count"], asked["seed"]))
    broken = [text for text in made if not valid(text)]
    found = hashes(asked, map(nasty.whole, made))
    if asked["library"] == OURS:
        found["refused"] = sum(map(refused, broken))
    return {**found, "with_surrogates": len(broken)}


def hashes(asked: dict[str, Any], texts: Iterable[str]) -> dict[str, Any]:
    merges = read_merges(asked["merges"])
    encoder = ENCODERS[asked["library"]](merges, "arrays", Path())
    found, count, total = list[str](), 0, 0
    for group in groups(texts):
        all_ids = ids_of(encoder(group, asked["threads"]))
        found.append(hashlib.sha256(all_ids.tobytes()).hexdigest()[:16])
        count += len(group)
        total += len(all_ids)
    return {"hashes": found, "texts": count, "ids": total}


def groups(texts: Iterable[str]) -> Iterator[list[str]]:
    left = iter(texts)
    while group := list(islice(left, GROUP)):
        yield group


def valid(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def refused(text: str) -> bool:
    import rustbpe

    try:
        rustbpe.Tokenizer.from_merges([]).encode(text)
    except ValueError:
        return True
    return False


def points() -> Iterator[str]:
    """Every character but surrogates, which no valid text has."""
    return (chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF)


def classes(asked: dict[str, Any]) -> dict[str, Any]:
    """The code points of each class, and those that end a contraction after an apostrophe."""
    found = ours_classes() if asked["library"] == OURS else tiktoken_classes()
    return {name: "".join(members) for name, members in found.items()}


def ours_classes() -> dict[str, list[str]]:
    """By the pieces that each character makes beside a known one."""
    import rustbpe

    split = rustbpe.Tokenizer.from_merges([]).split
    found: dict[str, list[str]] = {name: [] for name in (*CLASSES, "contraction")}
    for one in points():
        if len(split(f"a{one}")) == 1:
            found["letter"].append(one)
            if split(f"'{one}a") == [f"'{one}", "a"]:
                found["contraction"].append(one)
        elif len(split(f"1{one}")) == 1:
            found["number"].append(one)
        elif len(split(f"!{one}")) == 2 or one in "\r\n":
            found["space"].append(one)
    return found


def tiktoken_classes() -> dict[str, list[str]]:
    """By what it encodes with a pattern that matches the class alone, since it skips all else."""
    everything = "".join(points())
    found = {name: list(matched(pattern, everything)) for name, pattern in CLASSES.items()}
    ends = matched(CONTRACTION, "".join(f"'{one}\n" for one in points())).split("'")[1:]
    return {**found, "contraction": ends}


def matched(pattern: str, text: str) -> str:
    return bytes(tiktoken_with([], pattern).encode_ordinary(text)).decode()
