"""A resumable grid of runs: each leaves a file, and none is played again as it was.

    python benchmarks/bench_learning.py [--part tune|sites|...] [--jobs 2] [--summary] [--pictures docs]

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
from learning.pictures import draw_distances, draw_tuning
from learning.play import Plan, described, play

RESULTS = Path(__file__).parent / "results" / "learning"
LENGTH = 64
SEEDS = (1, 2, 3)
RATES = (3.0, 6.0, 12.0, 24.0, 48.0)
"""Factors of the inner learning rates that each setup is tuned over, alike."""
_T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Two-sided, by the number of seeds."""

COUNTS = {"one": 1, "two": 2, "four": 4}
OUTERS = ("average", "muon", "gentle", "nesterov")
SETUPS: Mapping[str, Plan] = {
    "sync": Plan(),
    **{
        f"{name}-{outer}": Plan(phases=(sites,), outer=outer)
        for outer in OUTERS
        for name, sites in COUNTS.items()
    },
}
"""What is tuned, by name: each number of sites with each outer optimizer at a rate of its own."""


def plans(part: str) -> Iterator[tuple[str, Plan]]:
    """Yield the runs of a part by name, first all those of the first seed."""
    if part == "tune":
        for rate in RATES:
            for setup, plan in SETUPS.items():
                yield f"tune.{setup}-{rate:g}.1", replace(plan, rate=rate)
        return
    for seed in SEEDS:
        for name, (setup, plan) in _PARTS[part].items():
            yield f"{part}.{name}.{seed}", replace(plan, seed=seed, rate=best_rate(setup))


def best_rate(setup: str) -> float:
    """Return the rate with which a setup came to the least loss. Raises FileNotFoundError before `tune`."""
    losses = tuned(setup)
    if len(losses) < len(RATES):
        raise FileNotFoundError(f"{setup} was played at {sorted(losses)} of the rates {RATES}; play `tune`")
    return min(losses, key=lambda rate: losses[rate])


def tuned(setup: str) -> dict[float, float]:
    """Return the held-out loss of a setup by rate, where it was played."""
    places = {rate: RESULTS / f"tune.{setup}-{rate:g}.1.json" for rate in RATES}
    return {rate: json.loads(one.read_text())["held_out"] for rate, one in places.items() if one.exists()}


def _changing(days: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[str, Plan]]]:
    """Yield runs in which the number of sites changes, at the rate of two sites with that outer optimizer."""
    for day, phases in days.items():
        yield f"{day}-average", ("two-average", Plan(phases=phases, outer="average", warmup=JOIN_WARMUP))
        for momentum in ("keep", "restart", "scale"):
            plan = Plan(phases=phases, outer="muon", momentum=momentum, warmup=JOIN_WARMUP)
            yield f"{day}-{momentum}", ("two-muon", plan)
        cold = Plan(phases=phases, outer="average")
        yield f"{day}-average-cold", ("two-average", cold)


JOIN_WARMUP = 10
"""Inner steps over which a joiner's learning rate rises; `cold` ones begin at once."""

LONG_STEPS = 1920
"""Four times as many as elsewhere, and as many outer steps, at the rates tuned for those."""

_PARTS: Mapping[str, Mapping[str, tuple[str, Plan]]] = {
    "tune": {},
    "sites": {name: (name, plan) for name, plan in SETUPS.items()},
    "long": {
        "sync": ("sync", Plan(steps=LONG_STEPS)),
        **{
            f"two-{outer}": (f"two-{outer}", Plan(phases=(2,), outer=outer, steps=LONG_STEPS))
            for outer in OUTERS
        },
    },
    "cadence": {
        f"{name}-{outer}-every{every}": (f"{name}-{outer}", Plan(phases=(sites,), outer=outer, every=every))
        for every in (5, 10, 40)
        for name, sites in (("two", 2), ("four", 4))
        for outer in ("average", "gentle", "muon")
    },
    "changes": dict(_changing({"1212": (1, 2, 1, 2), "1231": (1, 2, 3, 1)})),
    "codecs": {
        f"{outer}-{codec}": (f"two-{outer}", Plan(phases=(2,), outer=outer, codec=codec))
        for outer in ("average", "muon")
        for codec in ("bf16", "int8", "int4")
    },
    "streaming": {
        f"tau{tau}-alpha{alpha:g}": (
            "two-average",
            Plan(phases=(2,), outer="average", fragments=2, delay=tau, alpha=alpha),
        )
        for tau in (0, 1, 5)
        for alpha in (0.0, 0.5)
    },
}
"""By part and name: the setup whose tuned rate is used, and the run."""


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
    known = {**described(Plan()), **found["plan"]}  # what was not in a plan then was as it is by default now
    return (known, found["corpus"]) == (described(plan), corpus)


def summary() -> dict[str, Any]:
    """Return mean, interval (95 %, Student) and difference to synchronous training of what was played."""
    losses: dict[str, list[float]] = {}
    for place in sorted(RESULTS.glob("*.json")):
        name = place.stem.rpartition(".")[0]  # without the seed
        losses.setdefault(name, []).append(json.loads(place.read_text())["held_out"])
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


AIMS = (0.0, 1.0, 2.5)
"""Percent over synchronous training that one, two and four sites were to be at most."""


def draw(folder: Path, found: Mapping[str, Any]) -> None:
    """Write learning-*.png of what was played."""
    panels = {
        f"{name} site{'s' if sites > 1 else ''}": {
            "synchronous": "sync",
            **{outer: f"{name}-{outer}" for outer in OUTERS},
        }
        for name, sites in COUNTS.items()
    }
    draw_tuning({setup: tuned(setup) for setup in SETUPS}, panels, folder / "learning-tuning.png")
    groups = {
        title: {label: f"sites.{setup}" for label, setup in lines.items() if setup != "sync"}
        for title, lines in panels.items()
    }
    draw_distances(found, groups, folder / "learning-sites.png", aims=AIMS)
    days = {"1-2-1-2": "1212", "1-2-3-1": "1231"}
    hows = ("average", "average-cold", "keep", "restart", "scale")
    changes = {title: {how: f"changes.{day}-{how}" for how in hows} for title, day in days.items()}
    draw_distances(found, changes, folder / "learning-changes.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", nargs="*", choices=list(_PARTS), default=list(_PARTS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--summary", action="store_true", help="sum up what is there, play nothing")
    parser.add_argument("--pictures", type=Path, help="folder to draw learning-*.png in")
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
    if args.pictures:
        draw(args.pictures, found)


if __name__ == "__main__":
    main()
