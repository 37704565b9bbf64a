"""A resumable grid of runs: each leaves a file, and none is played again as it was.

    python benchmarks/bench_learning.py [--part tune|sites|...] [--jobs 2] [--summary]

Results and the summary go to benchmarks/results/learning/. A run takes about a minute of one core.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_demo import machine
from learning.corpus import prepare
from learning.play import Plan, described, play

RESULTS = Path(__file__).parent / "results" / "learning"
LENGTH = 64
SEEDS = (1, 2, 3)
RATES = (6.0, 12.0, 24.0)
"""Of inner learning rates' factors the best of these is taken, for synchronous training and for sites."""
_T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Two-sided, by the number of seeds."""


def plans(part: str) -> Iterator[tuple[str, Plan]]:
    """Yield the runs of a part by name, first those of the first seed."""
    for seed in SEEDS[:1] if part == "tune" else SEEDS:
        for name, plan in _PARTS[part].items():
            rate = plan.rate if part == "tune" else best_rate("two" if plan.phases else "sync")
            yield f"{part}.{name}.{seed}", replace(plan, seed=seed, rate=rate)


def best_rate(kind: str) -> float:
    """Return the rate with which `tune` came to the least loss; the middle one where it was not played."""
    places = {rate: RESULTS / f"tune.{kind}-{rate:g}.1.json" for rate in RATES}
    losses = {rate: json.loads(one.read_text())["held_out"] for rate, one in places.items() if one.exists()}
    return min(losses, key=lambda rate: losses[rate]) if losses else RATES[1]


_PARTS: Mapping[str, Mapping[str, Plan]] = {
    "tune": {
        **{f"sync-{rate:g}": Plan(rate=rate) for rate in RATES},
        **{f"two-{rate:g}": Plan(phases=(2,), rate=rate) for rate in RATES},
        **{f"two-average-{rate:g}": Plan(phases=(2,), outer="average", rate=rate) for rate in RATES[1:]},
    },
    "sites": {
        "sync": Plan(),
        "one-muon": Plan(phases=(1,)),
        "two-muon": Plan(phases=(2,)),
        "four-muon": Plan(phases=(4,)),
        "two-nesterov": Plan(phases=(2,), outer="nesterov"),
        "two-average": Plan(phases=(2,), outer="average"),
        "four-average": Plan(phases=(4,), outer="average"),
    },
    "changes": {
        **{f"1212-{kind}": Plan(phases=(1, 2, 1, 2), momentum=kind) for kind in ("keep", "restart", "scale")},
        "1212-average": Plan(phases=(1, 2, 1, 2), outer="average"),
        **{f"1231-{kind}": Plan(phases=(1, 2, 3, 1), momentum=kind) for kind in ("keep", "restart", "scale")},
    },
    "codecs": {
        "int4": Plan(phases=(2,), codec="int4"),
        "int8": Plan(phases=(2,), codec="int8"),
    },
    "streaming": {
        f"tau{tau}-alpha{alpha:g}": Plan(phases=(2,), fragments=2, delay=tau, alpha=alpha)
        for tau in (0, 1, 5)
        for alpha in (0.0, 0.5)
    },
}


def run(item: tuple[str, Plan], *, root: Path) -> str:
    """Play one run, unless it was; return its name."""
    name, plan = item
    place = RESULTS / f"{name}.json"
    corpus = prepare(root, length=LENGTH)
    if was_played(place, plan, corpus.hash):
        return name
    torch.set_num_threads(1)
    found = play(plan, corpus)
    result = {"plan": described(plan), **found, "corpus": corpus.hash, "machine": machine()}
    part = place.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(place)
    return name


def was_played(place: Path, plan: Plan, corpus: str) -> bool:
    """Whether a file has the result of this very plan on this corpus; that of another one is written over."""
    if not place.exists():
        return False
    found = json.loads(place.read_text())
    return (found["plan"], found["corpus"]) == (described(plan), corpus)


def summary() -> dict[str, Any]:
    """Return mean, interval (95 %, Student) and difference to synchronous training of what was played."""
    losses: dict[str, list[float]] = {}
    for place in sorted(RESULTS.glob("*.json")):
        part, name, _ = place.stem.rsplit(".", 2) if place.stem.count(".") == 2 else ("", "", "")
        if part:
            losses.setdefault(f"{part}.{name}", []).append(json.loads(place.read_text())["held_out"])
    reference = losses.get("sites.sync")
    return {name: _figures(values, reference) for name, values in losses.items()}


def _figures(values: Sequence[float], reference: Sequence[float] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"runs": len(values), "mean": statistics.fmean(values)}
    if len(values) in _T_95:
        found["plus_minus"] = _T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    if reference:
        found["over_sync"] = statistics.fmean(values) / statistics.fmean(reference) - 1
        if len(values) == len(reference):  # the same seeds: the same first weights and order
            each = [one / other - 1 for one, other in zip(values, reference, strict=True)]
            found["over_sync_by_seed"] = each
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="sum up what is there, play nothing")
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not args.summary:
        with (
            tempfile.TemporaryDirectory() as scratch,
            multiprocessing.get_context("spawn").Pool(args.jobs) as pool,
        ):
            prepare(Path(scratch), length=LENGTH)
            for part in args.part:  # `tune` is over before the next one asks for its rates
                for name in pool.imap(partial(run, root=Path(scratch)), plans(part)):
                    print(name, flush=True)
    found = summary()
    (RESULTS.parent / "learning.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
