"""MB/s of encoding: ours beside one other after the other.

A machine whose cores are shared may be twice as fast in one minute as in the next. So what is compared runs
one right after the other, and the ratio is the median of these pairs' ratios, not the ratio of two medians.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from thinlink.record import bound, spread

from bpe.bench import Bench
from bpe.processes import Failed
from bpe.reached import reached

CACHELESS_WARM_BYTES = 1_000_000
"""What a library that remembers nothing is warmed up with."""
CACHELESS = {"tiktoken", "rustbpe"}
MORE_TURNS = 2
"""So many turns more for pairs that take seconds."""


@dataclass(frozen=True)
class Case:
    """What is measured in one process."""

    library: str
    form: str
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.library}, {self.form}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Ours and what it is compared with; `aim` is how many times faster it must be, and is hoped to be."""

    ours: Case
    other: Case
    aim: tuple[float, float] | None = None
    slow: bool = False


ARRAYS, LISTS = Case("ours", "arrays"), Case("ours", "lists")
PAIRS = {
    "tiktoken": Pair(ours=ARRAYS, other=Case("tiktoken", "arrays"), aim=(6, 8)),
    "gigatoken": Pair(ours=Case("ours_gpt4", "arrays"), other=Case("gigatoken", "arrays"), aim=(0.8, 1.0)),
    "tokenizers": Pair(ours=ARRAYS, other=Case("tokenizers", "lists"), aim=(27, 40), slow=True),
    "rustbpe": Pair(ours=ARRAYS, other=Case("rustbpe", "lists"), aim=(17, 20), slow=True),
    "tiktoken's lists by arrays": Pair(ours=ARRAYS, other=Case("tiktoken", "lists")),
    "tiktoken, lists": Pair(ours=LISTS, other=Case("tiktoken", "lists"), aim=(3, 3)),
    "gigatoken, lists": Pair(ours=Case("ours_gpt4", "lists"), other=Case("gigatoken", "lists")),
    "two threads, one": Pair(ours=Case("ours", "arrays", 2), other=ARRAYS, aim=(1.7, 1.7)),
    "tiktoken, two threads": Pair(ours=Case("ours", "arrays", 2), other=Case("tiktoken", "arrays", 2)),
    "gigatoken, two threads": Pair(ours=Case("ours_gpt4", "arrays", 2), other=Case("gigatoken", "arrays", 2)),
}
"""tokenizers and PyPI's rustbpe give lists only. gigatoken refuses our pattern and is given GPT-4's, as is
ours_gpt4."""
GPT4 = {"gigatoken", "ours_gpt4"}


def encoding(bench: Bench) -> dict[str, Any]:
    rows = defaultdict[Case, list[Any]](list)
    ratios = defaultdict[str, list[float]](list)
    for turn in range(bench.repeats + MORE_TURNS):
        for name, pair in PAIRS.items():
            if pair.slow and turn >= bench.repeats:
                continue
            # Ours comes second: it is ready in seconds, where the other may learn for half a minute.
            other, ours = (measured(bench, case) for case in (pair.other, pair.ours))
            rows[pair.other].append(other)
            rows[pair.ours].append(ours)
            ratios[name].append(ours["mb_per_s"] / other["mb_per_s"])
    fields = ("mb_per_s", "mb_per_cpu_s", "peak_mb")
    must: dict[str, Any] = {
        f"encoding_times_{name}": {**reached(spread(ratios[name])["median"], pair.aim)}
        for name, pair in PAIRS.items()
        if pair.aim
    }
    others = {family(case): set[str]() for case in rows}
    for case, found in rows.items():
        others[family(case)] |= {row["sha256"] for row in found}
    must["encoders_with_other_ids"] = bound(sum(len(found) - 1 for found in others.values()), 0)
    return {
        "figures": {
            str(case): {key: spread([row[key] for row in rows[case]]) for key in fields} for case in rows
        },
        "ratios": {name: spread(found) for name, found in ratios.items()},
        "must": must,
    }


def family(case: Case) -> str:
    return "GPT-4's pattern" if case.library in GPT4 else "our pattern"


def measured(bench: Bench, case: Case) -> Any:
    said = bench.run(
        "encode",
        case.library,
        case.threads,
        form=case.form,
        merges=bench.merges,
        train=bench.train_text,
        new=bench.new_text,
        warm_bytes=CACHELESS_WARM_BYTES if case.library in CACHELESS else bench.warm_bytes,
    )
    if "failed" in said:
        raise Failed(f"{case}: {said['failed']}")
    return said
