"""A site of one rank beside a site of two: what they weigh, and what becomes of a site that loses a rank."""

import signal
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from curtail_dist.data.ledger import count
from faults.lab import STEP_S, STEPS, Lab
from faults.program import BATCH_ROWS
from faults.speeds import DRIFT, weights_off_by
from faults.truth import history, lost_steps, verify

SETTLED = 4
ROUND_ROWS = 2 * STEPS * BATCH_ROWS
ROWS_OFF_BY = 0.1
"""A round may end with a step of fewer rows."""
HALF = BATCH_ROWS // 2


def equal_weights(nursery: Nursery, folder: Path, *, seed: int = 0, rounds: int = 10) -> dict[str, Any]:
    """Run a site of one rank and one of two, whose ranks take half as many rows in each step.

    Both then step over as many rows, at the same speed. Each inner step of a site adds its `DRIFT` to one
    parameter; with plain averaging the global parameter then moves by the mean of what the sites added.
    """
    del seed
    average: dict[str, Any] = {"optimizer": "average"}
    with Lab(folder, nursery, sites="ab", rows=ROUND_ROWS * (rounds + SETTLED), outer=average) as lab:
        one, two = _start(lab)
        lab.commit_by(one, SETTLED + rounds)
        lab.finish(one, *two)

        measured = (SETTLED, SETTLED + rounds)
        works = [work for version in range(*measured) for work in history(lab).chain[version + 1].work]
        rows = {site: sum(count(work.rows) for work in works if work.site == site) for site in lab.sites}
        steps = {site: sum(work.steps for work in works if work.site == site) for site in lab.sites}
        off_by = abs(rows["a"] / steps["a"] / (rows["b"] / steps["b"]) - 1.0)
        assert off_by < ROWS_OFF_BY, f"steps are of unequal size: {rows} rows in {steps} steps"
        assert not any(lost_steps(lab, site) for site in lab.sites)
        return {
            "rounds": rounds,
            "rows_a_step_off_by": off_by,
            "weights_off_by": weights_off_by(lab, one, measured),
            **verify(lab),
        }


def rank_killed(nursery: Nursery, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Kill rank 1 of a site of two inside a round: its rank 0 ends, the other site goes on, it comes back."""
    del seed
    with Lab(folder, nursery, sites="ab", rows=ROUND_ROWS * 4 * SETTLED) as lab:
        one, two = _start(lab)
        lab.commit_by(one, SETTLED)
        two[0].may_end.add(1)
        killed = two[1].send(signal.SIGKILL)
        lab.wait_for(lambda: two[0].code is not None, "the end of the rank that is left")
        # Its own all-reduce notices it first, or ours.
        assert "another rank of this site is gone" in two[0].errors or "all_reduce" in two[0].errors
        assert two[1].code == -signal.SIGKILL
        alone = lab.commit_by(one, 1, after=killed)
        again = lab.start_ranks("b", 2, batch_rows=HALF)
        (came,) = lab.wait_for(lambda: lab.events.of("joined", ranks=again[0]), "both ranks in the run again")
        lab.commit_by(again[0], came["version"] + 2)
        lab.finish(one, *again)
        assert not lost_steps(lab, "a")
        return {
            "kill_to_commit_s": alone.wall.timestamp() - killed,
            "survivors_lost_steps": 0,
            "victim_lost_steps": lost_steps(lab, "b"),
            **verify(lab),
        }


def overlapped(nursery: Nursery, folder: Path, *, seed: int = 0, commits: int = 20) -> dict[str, Any]:
    """Both sites train on while fragments are exchanged; each rank of the second takes rows of its own."""
    del seed
    streaming: dict[str, Any] = {"fragments": 2, "sync_delay": 2, "mix_alpha": 0.5}
    rows = ROUND_ROWS * (commits + SETTLED)
    with Lab(folder, nursery, sites="ab", rows=rows, outer=streaming) as lab:
        one, two = _start(lab)
        lab.commit_by(one, SETTLED + commits)
        lab.finish(one, *two)
        chain = history(lab).chain
        flights = sum(len(commit.ahead.get("b", ())) > 1 for commit in chain.values())
        assert flights >= commits, f"both ranks of b went on beside an exchange only {flights} times"
        assert not any(lost_steps(lab, site) for site in lab.sites)
        return {"flights": flights, **verify(lab)}


def _start(lab: Lab) -> tuple[Ranks, list[Ranks]]:
    """Start both sites and let none train before both are in."""
    lab.pace("hold")
    one = lab.start("a", drift=DRIFT["a"])
    lab.wait_for(lambda: lab.events.of("joined", ranks=one), "the founder in the run")
    two = lab.start_ranks("b", 2, drift=DRIFT["b"], batch_rows=HALF)
    lab.wait_for(lambda: "b" in lab.ready(), "both ranks ready to enter")
    lab.pace(STEP_S)
    return one, two
