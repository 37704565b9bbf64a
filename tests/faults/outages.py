"""SIGKILL of etcd: it comes back on the same data, or never."""

import time
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from curtail_dist.state import snapshot
from faults.lab import TTL_S, Lab
from faults.record import wall
from faults.truth import lost_steps, verify

BEFORE = 4
AFTER = 3
STEP_S = 0.05


def comes_back(nursery: Nursery, folder: Path, *, seed: int = 0, away_s: float = 30.0) -> dict[str, Any]:
    """Kill etcd inside a round and start it again later, on its data: nobody ends, and nothing is lost."""
    assert away_s > 2 * TTL_S, "leases lapse meanwhile"
    with Lab(folder, nursery, rows=6000) as lab:
        ranks = lab.start_together()
        lab.pace(STEP_S)
        victim = ranks[lab.sites[seed % len(lab.sites)]]
        lab.commit_by(victim, BEFORE)
        before = {site: member.incarnation for site, member in lab.present().items()}
        killed = lab.server.kill()
        lab.let_pass(away_s)
        stood = max(one["version"] for one in lab.events.of("commit"))
        lab.server.start()
        back = time.time()
        lab.wait_for(lambda: lab.present().keys() == set(lab.sites), "all leases again")
        registered = time.time()
        assert {site: member.incarnation for site, member in lab.present().items()} == before
        commits = [lab.commit_by(one, stood + 1, after=back) for one in ranks.values()]
        lab.commit_by(victim, stood + AFTER)
        results = lab.finish(*ranks.values())

        assert len({result["hash"] for result in results}) == 1
        assert not [one for one in lab.events.of("commit") if killed + 1.0 < wall(one) < back - 1.0]
        during = [one for one in lab.events.of("step") if killed < wall(one) < back]
        lost = {site: lost_steps(lab, site) for site in lab.sites}
        assert not any(lost.values()), f"steps were lost: {lost}"
        return {
            "away_s": back - killed,
            "steps_meanwhile": sum(one["steps"] for one in during),
            "store_lost_told": len(lab.events.of("store_lost")),
            "store_found_told": len(lab.events.of("store_found")),
            "back_to_registered_s": registered - back,
            "back_to_commit_s": max(wall(one) for one in commits) - back,
            "lost_steps": sum(lost.values()),
            "exits": sum(one.code != 0 for one in ranks.values()),
            **verify(lab),
        }


def stays_away(nursery: Nursery, folder: Path, *, seed: int = 0, outage_s: float = 6.0) -> dict[str, Any]:
    """Kill etcd and leave it dead: training to the bound, a clean stop, and nothing of worth only in memory.

    Afterwards etcd is started on its data again and the run is completed, to show what was kept.
    """
    with Lab(
        folder, nursery, rows=6000, round={"outage_s": outage_s}, coordination={"timeout_s": 2.0}
    ) as lab:
        ranks = lab.start_together()
        lab.pace(STEP_S)
        victim = ranks[lab.sites[seed % len(lab.sites)]]
        stood = lab.commit_by(victim, BEFORE)
        killed = lab.server.kill()
        for one in ranks.values():
            one.may_end.add(1)
        gone = {site: _end(lab, one) - killed for site, one in ranks.items()}

        head = max(lab.events.of("commit"), key=lambda one: one["version"])
        assert head["version"] >= stood["version"]
        kept = snapshot.read(str(lab.directory / "snapshots"), head["version"], head["hash"])
        assert kept.version.hash == head["hash"], "head's snapshot is durable"
        during = [one for one in lab.events.of("step") if wall(one) > killed]
        open_files = {site: list((lab.directory / "open").glob(f"{site}*")) for site in lab.sites}
        for site, one in ranks.items():
            assert one.code == 1, f"{one} ended with {one.code}"
            assert lab.events.of("store_lost", ranks=one), f"{one} told of no loss"
            errors = [line for line in one.errors.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, f"{one} said {one.errors[-2000:]!r}"
            assert "Traceback" not in one.errors
            assert open_files[site], f"{one} kept no open work"

        lab.server.start()
        again = [lab.start(site) for site in lab.sites]
        results = lab.finish(*again)
        assert len({result["hash"] for result in results}) == 1
        return {
            "outage_bound_s": outage_s,
            "kill_to_exit_s": max(gone.values()),
            "steps_meanwhile": sum(one["steps"] for one in during),
            "head": head["version"],
            "lost_steps": sum(lost_steps(lab, site) for site in lab.sites),
            **verify(lab),
        }


def _end(lab: Lab, ranks: Ranks) -> float:
    """Wait for a process's end, which is an orderly failure; return the moment."""
    lab.wait_for(lambda: ranks.code is not None, f"the end of {ranks}")
    return time.time()
