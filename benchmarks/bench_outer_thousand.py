"""Simulates a day of 2 to 1,000 sites, fed with costs measured at one of them.

    python benchmarks/bench_outer_thousand.py [--rounds 400] [--out benchmarks/results/outer_thousand.json]

Measured with the library's own code, in CPU seconds of one core here: what one of N sites computes for a sync
(`thinlink/among.py`: encoding, its part of the mean, the outer step; reading N cards, putting the commit
together, planning the next round), and the bytes that it sends. Taken from `results/outer_scale.json`: the
seconds to build a group, for each further member.

Simulated: 560,988,200 parameters (d20) in 8 fragments, H = 189 steps of 524,288 tokens, int4, tau 1. The rest
is assumed, and stands in the result: step times, links, windows, crashes. Nobody has run this with so many
sites; it says which part would give way first, not what a site in the field will see.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from thinlink.among import Shape, arithmetic, decisions
from thinlink.record import conditions, save, spread

COUNTS = (2, 4, 8, 32, 100, 316, 1000)
SCALE = Path("benchmarks/results/outer_scale.json")
PARAMETERS = 560_988_200
SHAPE = Shape(fragments=8, steps=23, delay=1, rows_a_step=500)
CODEC = "int4"
ETCD_MOST_BYTES = 1.5 * 1024**2
"""Of one request, as etcd is set by default."""
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What is not measured here."""

    step_s: float = 2.73
    """Of the fastest sites: d20 on one H100 in eight, from the published day."""
    step_spread: float = 0.25
    """Of the logarithm of the sites' step times."""
    jitter: float = 0.02
    """Of the logarithm of a round's compute at a site."""
    up_mbit_s: tuple[float, ...] = (100.0, 300.0, 1000.0)
    """Of a site's link, drawn alike often."""
    round_trip_s: float = 0.15
    waits: int = 5
    """Of a round trip in a sync: cards and their sizes, votes, the transaction, what watchers are told."""
    windows_a_day: float = 2.0
    crashes_a_day: float = 0.1
    detect_s: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one site among N, as measured: medians."""

    arithmetic_s_a_parameter: float
    bytes_a_parameter: float
    decide_s: float
    commit_bytes: float
    form_s: float


def measure(sites: int, form_s_a_member: float, repetitions: int) -> tuple[Cost, dict[str, Any]]:
    """Return what a sync costs one of so many sites: medians for the simulation, and all with its spread."""
    seconds, sent = arithmetic(sites, CODEC, repetitions=repetitions)
    decided = decisions(sites, SHAPE, rounds=1 if sites > 100 else repetitions)
    decide = [one.read_cards_s + one.commit_s + one.plan_s for one in decided]
    cost = Cost(
        arithmetic_s_a_parameter=statistics.median(seconds),
        bytes_a_parameter=sent,
        decide_s=statistics.median(decide),
        commit_bytes=statistics.median(one.commit_bytes for one in decided),
        form_s=form_s_a_member * (sites - 1),
    )
    parts = {name: spread([asdict(one)[name] for one in decided]) for name in asdict(decided[0])}
    return cost, {"arithmetic_ns_a_parameter": spread([1e9 * one for one in seconds]), **parts}


def form_s_a_member() -> float:
    """Return the seconds that each further member adds to building a group, as measured with 32."""
    cases = json.loads(SCALE.read_text())["cases"]
    most = max(cases, key=lambda case: case["sites"])
    return most["form_s"]["median"] / (most["sites"] - 1)


def day(sites: int, cost: Cost, assumed: Assumed, *, rounds: int, seed: int) -> Mapping[str, float]:
    """Play rounds; return shares of the sites' time in which no inner step runs, by cause."""
    dice = np.random.default_rng(seed)
    step = assumed.step_s * np.exp(np.abs(dice.normal(0, assumed.step_spread, sites)))
    rate = dice.choice(assumed.up_mbit_s, sites) * 1e6 / 8
    planned = np.maximum(1, np.floor(SHAPE.steps * step.min() / step + 0.4))
    numbers = PARAMETERS / SHAPE.fragments
    link_s = float((cost.bytes_a_parameter * numbers / rate).max())
    messages_s = assumed.waits * assumed.round_trip_s
    cpu_s = cost.arithmetic_s_a_parameter * numbers + cost.decide_s
    beyond = np.maximum(0.0, link_s + messages_s + cpu_s - SHAPE.delay * step)
    lost: dict[str, float] = dict.fromkeys(("whole_steps_and_jitter", "sync", "groups", "crashes"), 0.0)
    passed = 0.0
    for _ in range(rounds):
        compute = planned * step * np.exp(dice.normal(0, assumed.jitter, sites))
        lost["whole_steps_and_jitter"] += float((compute.max() - compute).mean())
        lost["sync"] += float(beyond.mean())
        period = float(compute.max() + beyond.mean())
        changes = dice.poisson(sites * 2 * assumed.windows_a_day * period / DAY_S)
        crashes = dice.poisson(sites * assumed.crashes_a_day * period / DAY_S)
        if changes:
            lost["groups"] += cost.form_s
        lost["crashes"] += crashes * (assumed.detect_s + cost.form_s + link_s / 2)
        passed += period + (cost.form_s if changes else 0.0)
    passed += lost["crashes"]
    shares = {cause: seconds / passed for cause, seconds in lost.items()}
    return {
        **shares,
        "stall": sum(shares.values()),
        "link_s": link_s,
        "cpu_s": cpu_s,
        "round_s": passed / rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_thousand.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = conditions()
    assumed = Assumed()
    cases: list[dict[str, Any]] = []
    for sites in COUNTS:
        cost, measured = measure(sites, form_s_a_member(), args.repetitions)
        days = [day(sites, cost, assumed, rounds=args.rounds, seed=seed) for seed in range(args.seeds)]
        simulated = {name: spread([one[name] for one in days]) for name in days[0]}
        cases.append(
            {
                "sites": sites,
                "bytes_a_site_and_parameter": cost.bytes_a_parameter,
                "commit_fits_etcd": cost.commit_bytes < ETCD_MOST_BYTES,
                "form_s": cost.form_s,
                "measured": measured,
                "simulated": simulated,
            }
        )
        shown = {name: round(one["median"], 4) for name, one in simulated.items()}
        print(sites, f"{cost.commit_bytes:.0f} B", f"{cost.decide_s:.3f} s to decide", shown, flush=True)
    run = {"parameters": PARAMETERS, "codec": CODEC, **asdict(SHAPE), "rounds": args.rounds}
    save(args.out, {"run": run, "assumed": asdict(assumed), "cases": cases}, before=before)


if __name__ == "__main__":
    main()
