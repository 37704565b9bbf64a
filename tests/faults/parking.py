"""A site that parks over a short dark: how soon it trains again once it is asked back."""

import statistics
import time
from pathlib import Path
from typing import Any

from nursery import Nursery

from curtail_dist.membership.notice import Notice
from curtail_dist.membership.records import Presence
from faults.lab import STEP_S, Lab
from faults.record import wall
from faults.truth import lost_steps, verify

BETWEEN = 3
PARK_S = 60.0
ROWS_A_STAY = 800


def repeatedly(nursery: Nursery, folder: Path, *, seed: int = 0, stays: int = 6) -> dict[str, Any]:
    """Drain the only site and ask it back, again and again, as its agent would.

    `back_s` is the time from being asked back to the end of the first inner step, without that step; nobody
    else is in the run, so there is no boundary to wait for.
    """
    del seed
    parking = {"park_s": PARK_S}
    with Lab(folder, nursery, sites="a", rows=ROWS_A_STAY * stays, provisioner=parking) as lab:
        ranks = lab.start("a")
        back: list[float] = []
        for stay in range(stays):
            lab.commit_by(ranks, (stay + 1) * BETWEEN)
            lab.store.put(lab.keys.drain("a"), Notice(reason="a test").encode())
            lab.wait_for(lambda: _parked(lab), "the site parked")
            asked = time.time()
            lab.store.delete(lab.keys.drain("a"))
            done = lab.wait_for(lambda asked=asked: _first_step(lab, asked), "its first step")
            back.append(done - asked - STEP_S)
        lab.finish(ranks)
        assert len(lab.events.of("joined", ranks=ranks)) == stays + 1, (
            "it came back each time, in one process"
        )
        assert not lost_steps(lab, "a")
        return {"stays": stays, "back_s": statistics.median(back), "back_worst_s": max(back), **verify(lab)}


def _parked(lab: Lab) -> bool:
    entry = lab.store.get(lab.keys.member("a"))
    return entry is not None and Presence.decode(entry.value).parked


def _first_step(lab: Lab, asked: float) -> float | None:
    return next((wall(one) for one in lab.events.of("step", site="a") if wall(one) > asked), None)
