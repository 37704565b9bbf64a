"""Two sites of which one is twice as fast: do they finish their rounds together, and weigh what they did?"""

import itertools
import json
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from faults.lab import STEP_S, Lab
from faults.program import BATCH_ROWS
from faults.record import wall
from faults.truth import history, verify

SETTLED = 4
"""Rounds in which the speeds are measured first."""
FAST_STEPS = 50
"""Of a round; the slow site does half of them."""
ROUND_ROWS = (FAST_STEPS + FAST_STEPS // 2) * BATCH_ROWS
SLOWNESS = 2.0
DRIFT = {"a": 1.0, "b": 3.0}
TOLERANCE = 1e-3


def two_to_one(nursery: Nursery, folder: Path, *, seed: int = 0, rounds: int = 10) -> dict[str, Any]:
    """Run sites at speeds 2:1 for some rounds; measure the fast one's idle time and both sites' weights.

    Each inner step of a site adds its `DRIFT` to one parameter; with plain averaging the global parameter
    then moves by the weighted mean of what the sites added, which shows the weights.
    """
    del seed
    sections = {"round": {"steps": FAST_STEPS}, "outer": {"optimizer": "average"}}
    with Lab(folder, nursery, sites="ab", rows=ROUND_ROWS * (rounds + 2 * SETTLED), **sections) as lab:
        slow = {"slowness": SLOWNESS, "drift": DRIFT["b"]}
        ranks = lab.start_together(a={"drift": DRIFT["a"]}, b=slow)
        lab.commit_by(ranks["a"], SETTLED + rounds)
        measured = (SETTLED, SETTLED + rounds)
        lab.finish(*ranks.values())

        steps = {site: _steps(lab, site, measured) for site in lab.sites}
        assert steps["b"] >= 20 * rounds, f"rounds of {steps['b'] / rounds} slow steps"
        return {
            "rounds": rounds,
            "step_s": [STEP_S, STEP_S * SLOWNESS],
            "fast_idle_share": _idle_share(lab, ranks["a"], measured),
            "slow_idle_share": _idle_share(lab, ranks["b"], measured),
            "fast_stall_share": _stall_share(lab, ranks["a"], measured),
            "steps_ratio": steps["a"] / steps["b"],
            "weights_off_by": weights_off_by(lab, ranks["a"], measured),
            **verify(lab),
        }


def _steps(lab: Lab, site: str, versions: tuple[int, int]) -> int:
    chain = history(lab).chain
    works = [work for version in range(versions[0] + 1, versions[1] + 1) for work in chain[version].work]
    return sum(work.steps for work in works if work.site == site)


def _span(lab: Lab, ranks: Ranks, versions: tuple[int, int]) -> tuple[float, float]:
    at = {one["version"]: wall(one) for one in lab.events.of("commit", ranks=ranks)}
    return at[versions[0]], at[versions[1]]


def _idle_share(lab: Lab, ranks: Ranks, versions: tuple[int, int]) -> float:
    """Share of its time in which a site stood at a boundary and waited for the other."""
    began, ended = _span(lab, ranks, versions)
    phases = lab.events.of("phase", ranks=ranks)
    idle = sum(
        wall(after) - wall(one)
        for one, after in itertools.pairwise(phases)
        if one["phase"] == "idle" and began <= wall(one) < ended
    )
    return idle / (ended - began)


def _stall_share(lab: Lab, ranks: Ranks, versions: tuple[int, int]) -> float:
    """Share of its time in which no inner step ran: waiting, exchange, outer step and commit."""
    began, ended = _span(lab, ranks, versions)
    commits = [one for one in lab.events.of("commit", ranks=ranks) if began < wall(one) <= ended]
    return sum(one["stall_s"] for one in commits) / (ended - began)


def weights_off_by(lab: Lab, ranks: Ranks, versions: tuple[int, int]) -> float:
    """How far the global parameter's moves are from those that token shares as weights give, relatively."""
    lines = (lab.folder / f"versions-{ranks.site}-{ranks.pid}.jsonl").read_text().splitlines()
    anchor = {one["version"]: one["drift"] for one in map(json.loads, lines)}
    chain = history(lab).chain
    worst = 0.0
    for version in range(versions[0] + 1, versions[1] + 1):
        works = chain[version].work
        tokens = sum(work.tokens for work in works)
        expected = sum(work.tokens / tokens * work.steps * DRIFT[work.site] for work in works)
        moved = anchor[version] - anchor[version - 1]
        worst = max(worst, abs(moved - expected) / expected)
    assert worst < TOLERANCE, f"weights are not token shares: off by {worst}"
    return worst
