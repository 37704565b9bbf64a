"""Exactness: merges beside the others', ids and classes beside tiktoken's. And the memory of training."""

from typing import Any

import numpy as np
from thinlink.record import bound

from bpe.bench import Bench
from bpe.processes import OURS, Failed

SAME_MERGES = ("rustbpe", "bpeasy")
"""Those that merge the smallest pair first among equally frequent ones, as ours does."""
OTHER_MERGES = ("tokenizers", "ffbpe")
STREAM_CHARACTERS = 4e9
MEMORY_AIM_MB = 3000.0
STREAM_AIM_BYTES = 2e9


def exact(bench: Bench) -> dict[str, Any]:
    merges = {str(size): compared_merges(bench, size) for size in bench.vocabularies}
    texts = {"merges": bench.merges, "train": bench.train_text, "new": bench.new_text}
    pair = (OURS, "tiktoken")
    ids = [bench.run("ids", library, 2, **texts) for library in pair]
    nasty = {"merges": bench.merges, "count": bench.strings, "seed": bench.seed}
    strings = [bench.run("strings", library, 2, **nasty) for library in pair]
    classes = [bench.run("classes", library, 1) for library in pair]
    for said in (*ids, *strings, *classes):
        if "failed" in said:
            raise Failed(said["failed"])
    differing = {name: class_difference(classes[0][name], classes[1][name]) for name in classes[1]}
    unequal = [size for size, found in merges.items() for name in SAME_MERGES if found[name] != "equal"]
    must = {
        "vocabularies_with_other_merges": bound(len(unequal), 0),
        "groups_of_texts_with_other_ids": bound(differences(ids), 0),
        "groups_of_strings_with_other_ids": bound(differences(strings), 0),
        "strings_with_surrogates_not_refused": bound(
            strings[0]["with_surrogates"] - strings[0]["refused"], 0
        ),
        "code_points_in_other_classes": bound(sum(map(len, differing.values())), 0),
    }
    figures = {
        "merges": merges,
        "texts": {key: ids[0][key] for key in ("texts", "ids")},
        "strings": {key: strings[0][key] for key in ("texts", "ids", "with_surrogates", "refused")},
        "code_points_of_class": {name: len(members) for name, members in classes[0].items()},
        "code_points_in_other_classes": differing,
    }
    return {"figures": figures, "must": must}


def compared_merges(bench: Bench, vocabulary: int) -> dict[str, str]:
    """Per library: equal, or the first merge that is another one."""
    ours = bench.tokens(OURS, vocabulary)
    return {
        library: first_difference(ours, bench.tokens(library, vocabulary))
        for library in (*SAME_MERGES, *OTHER_MERGES)
    }


def first_difference(ours: list[bytes] | None, theirs: list[bytes] | None) -> str:
    if ours is None or theirs is None:
        return "not compared: a training failed"
    # The order of the bytes differs between libraries; what is learnt comes after them.
    ours, theirs = ours[256:], theirs[256:]
    if ours == theirs:
        return "equal"
    at = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    common = len(set(ours) & set(theirs)) / len(ours)
    return f"another one from merge {at} on; {common:.2%} of the tokens are the same"


def differences(both: list[dict[str, Any]]) -> int:
    ours, theirs = (said["hashes"] for said in both)
    return sum(one != other for one, other in zip(ours, theirs, strict=True))


def class_difference(ours: str, theirs: str) -> list[str]:
    return sorted(f"U+{ord(one):04X}" for one in set(ours) ^ set(theirs))


def memory(bench: Bench) -> dict[str, Any]:
    """Distinct pieces and peak memory by text read; what follows for a longer stream; and a long stream."""
    size = bench.train_text.stat().st_size
    marks = [size // 16, size // 8, size // 4, size // 2]
    rows = bench.run("distinct", OURS, 1, path=bench.train_text, passes=2, marks=marks)
    asked = {"path": bench.train_text, "vocabulary": max(bench.vocabularies)}
    heads = [bench.run("stream", OURS, 2, passes=1, limit_bytes=mark, **asked) for mark in (*marks, size)]
    long = bench.run("stream", OURS, 2, passes=bench.passes, **asked)
    first = [row for row in rows if row["pass"] == 0]
    pieces = law([row["characters"] for row in first], [row["piece_bytes"] for row in first])
    grown = [head["peak_mb"] - head["before_mb"] for head in heads]
    peaks = law([head["characters"] for head in heads[1:]], grown[1:])
    predicted = peaks["factor"] * STREAM_CHARACTERS ** peaks["exponent"] + heads[0]["before_mb"]
    must = {
        "predicted_peak_mb_at_4e9_characters": bound(predicted, MEMORY_AIM_MB),
        "long_stream_peak_mb": bound(long["peak_mb"], MEMORY_AIM_MB),
        "long_stream_bytes_missing": bound(max(0.0, STREAM_AIM_BYTES - long["bytes"]), 0),
    }
    figures = {
        "distinct": rows,
        "piece_bytes_law": pieces,
        "heads": heads,
        "peak_mb_law": peaks,
        "long_stream": long,
    }
    return {"figures": figures, "must": must}


def law(x: list[float], y: list[float]) -> dict[str, float]:
    """Factor and exponent of y = factor x^exponent, by least squares of the logarithms."""
    exponent, logarithm = np.polyfit(np.log(x), np.log(y), 1)
    return {"factor": float(np.exp(logarithm)), "exponent": float(exponent)}
