"""Seconds and memory of training, and seconds for long runs: ours beside the others, by turns."""

from collections import defaultdict
from typing import Any

from thinlink.record import bound, spread

from bpe.bench import Bench
from bpe.processes import OURS, Failed
from bpe.reached import reached

TRAINERS = ("ours", "rustbpe", "tokenizers", "bpeasy", "gigatoken", "ffbpe", "ffbpe_gpt2")
AGAIN = ("ours", "rustbpe", "gigatoken", "ffbpe_gpt2")
"""The others take minutes, and are far from what they are compared with."""
TRAIN_AIMS = {
    "rustbpe": (6, 8),
    "tokenizers": (10, 12),
    "bpeasy": (12, 14),
    "gigatoken": (2, 2.5),
    "ffbpe_gpt2": (2, 2.5),
}
"""How many times faster ours must be, and is hoped to be, at the largest vocabulary."""
UNITS = {
    "a": "a",
    "space": " ",
    "line break": "\n",
    "digit": "1",
    "ab": "ab",
    "emoji": "🙂",
    "apostrophe": "'",
}
RUN_PATIENCE_S = 30.0
RUN_AIM_S = 1.0


def summed(rows: list[Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Median and spread of each field, or the failure of the first that failed."""
    failed = [row for row in rows if "failed" in row]
    return failed[0] if failed else {field: spread([row[field] for row in rows]) for field in fields}


def median(figures: dict[str, Any], field: str) -> float:
    if "failed" in figures:
        raise Failed(figures["failed"])
    return figures[field]["median"]


def training(bench: Bench) -> dict[str, Any]:
    fields = ("seconds", "cpu_seconds", "peak_mb")
    rows = defaultdict[tuple[int, str], list[Any]](list)
    for turn in range(bench.repeats):
        # Once at the smaller ones: what is asked for is asked for at the largest.
        for vocabulary in bench.vocabularies if turn == 0 else [max(bench.vocabularies)]:
            for library in TRAINERS if turn == 0 else AGAIN:
                rows[vocabulary, library].append(bench.train(library, vocabulary))
    figures = {
        str(vocabulary): {library: summed(rows[vocabulary, library], fields) for library in TRAINERS}
        for vocabulary in bench.vocabularies
    }
    largest = figures[str(max(bench.vocabularies))]
    peaks = {library: median(largest[library], "peak_mb") for library in TRAINERS}
    ratios = {
        library: median(largest[library], "seconds") / median(largest[OURS], "seconds")
        for library in TRAINERS[1:]
    }
    must: dict[str, Any] = {
        f"training_times_{library}": reached(ratios[library], aim) for library, aim in TRAIN_AIMS.items()
    }
    least = min(peak for library, peak in peaks.items() if library != OURS)
    must["training_peak_mb_below_all"] = bound(peaks[OURS], least)
    return {"figures": figures, "times_faster_at_largest": ratios, "must": must}


def runs(bench: Bench) -> dict[str, Any]:
    """Seconds for one text of equal characters, and of ten times as many."""
    figures = dict[str, Any]()
    for name, unit in UNITS.items():
        times = bench.long_run // len(unit)
        ours = {str(n): one_run(bench, OURS, unit, n) for n in (times, 10 * times)}
        figures[name] = {OURS: ours}
    for library in ("tiktoken", "gigatoken", "tokenizers"):
        figures["a"][library] = {str(bench.long_run): one_run(bench, library, "a", bench.long_run)}
        figures["space"][library] = {str(bench.long_run): one_run(bench, library, " ", bench.long_run)}
    seconds = [list(one[OURS].values()) for one in figures.values()]
    failed = [row["failed"] for pair in seconds for row in pair if "failed" in row]
    if failed:
        raise Failed(failed[0])
    must = {
        "long_run_s": bound(max(short["seconds"] for short, _ in seconds), RUN_AIM_S),
        "ten_times_longer_s": bound(max(long["seconds"] for _, long in seconds), 10 * RUN_AIM_S),
    }
    return {"figures": figures, "must": must}


def one_run(bench: Bench, library: str, unit: str, times: int) -> Any:
    return bench.run(
        "run", library, 1, merges=bench.merges, unit=unit, times=times, patience_s=RUN_PATIENCE_S
    )
