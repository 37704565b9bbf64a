"""SIGTERM: the drain of one site and of the last ones, and what a second SIGTERM does."""

import random
import signal
import time
from pathlib import Path
from typing import Any

from nursery import Nursery

from curtail_dist.membership.records import decode
from curtail_dist.state import snapshot
from faults.lab import STEP_S, Lab
from faults.record import wall
from faults.rounds import ending, median_s, usual
from faults.truth import lost_steps, verify

BASELINE = 5
LONG_STEP_S = 1.0
VERY_LONG_STEP_S = 20.0
TERMINATED = 128 + signal.SIGTERM


def drained(nursery: Nursery, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Ask one of two sites to leave in a long inner step; then the other, which is the last.

    `beyond_s` is how long the first took to be out of the run, beyond the inner steps that were under way at
    both sites and a usual exchange.
    """
    chance = random.Random(seed)
    with Lab(folder, nursery, sites="ab", rows=6000) as lab:
        ranks = lab.start_together()
        leaver, stayer = ranks["ab"[seed % 2]], ranks["ba"[seed % 2]]
        lab.commit_by(leaver, BASELINE)
        usual_s = median_s(usual(lab, list(ranks.values()), before=BASELINE))
        lab.pace(LONG_STEP_S)
        lab.let_pass(LONG_STEP_S + chance.uniform(0.0, LONG_STEP_S))
        asked = leaver.send(signal.SIGTERM)
        lab.wait_for(lambda: leaver.code is not None, "the end of the drained site")
        out = lab.events.of("drained", ranks=leaver)[-1]
        assert leaver.code == 0

        lab.pace(STEP_S)
        lab.commit_by(stayer, out["version"] + 2)
        stayer.send(signal.SIGTERM)
        lab.wait_for(lambda: stayer.code is not None, "the end of the last site")
        assert stayer.code == 0
        head = lab.head()
        assert lab.events.of("commit", ranks=stayer)[-1]["version"] == head.version
        _check_durable(lab)
        late = [one for one in lab.events.of("step", ranks=leaver) if wall(one) > asked]
        assert len(late) <= 1, f"{len(late)} inner steps after it was asked to leave"
        last = ending(lab, out["version"], list(ranks.values()))
        assert last is not None
        assert not any(lost_steps(lab, site) for site in lab.sites)
        return {
            "drain_s": wall(out) - asked,
            "step_s": LONG_STEP_S,
            "usual_commit_s": usual_s,
            "beyond_s": wall(out) - last.boundary - usual_s,
            "leaver": leaver.site,
            **verify(lab, complete=False),
        }


def told_twice(nursery: Nursery, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Send SIGTERM twice inside an inner step that takes long: the second one ends the process at once."""
    with Lab(folder, nursery, sites="ab", rows=3000) as lab:
        ranks = lab.start_together()
        leaver, stayer = ranks["ab"[seed % 2]], ranks["ba"[seed % 2]]
        lab.commit_by(leaver, BASELINE)
        open_round = lab.head().version + 1
        lab.pace(VERY_LONG_STEP_S)
        lab.let_pass(1.0)
        leaver.may_end = {TERMINATED, -signal.SIGTERM}
        leaver.send(signal.SIGTERM)
        lab.let_pass(1.0)
        assert leaver.code is None, "the first SIGTERM lets the inner step end"
        told = leaver.send(signal.SIGTERM)
        lab.wait_for(lambda: leaver.code is not None, "the end of the site that was told twice")
        gone = time.time()
        lab.pace(STEP_S)
        lab.commit_by(stayer, open_round + 1)
        lab.finish(stayer)

        assert not lab.events.of("drained", ranks=leaver)
        assert not lost_steps(lab, stayer.site)
        return {"second_sigterm_to_end_s": gone - told, "exit_code": leaver.code, **verify(lab)}


def _check_durable(lab: Lab) -> None:
    """Head's snapshot is whole, and the store says so."""
    head = lab.head()
    holder = lab.store.get(lab.keys.holder(head.version))
    assert holder is not None, f"nobody says that snapshot {head.version} is durable"
    assert decode(holder.value)["hash"] == head.hash
    kept = snapshot.read(str(lab.directory / "snapshots"), head.version, head.hash)
    assert kept.version.hash == head.hash
