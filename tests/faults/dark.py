"""SIGKILL of everything at once, again and again: the run resumes where its record stands."""

import random
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from curtail_dist.membership.records import Commit
from curtail_dist.telemetry.record import Record
from faults.lab import Lab
from faults.record import wall
from faults.truth import history, verify

ROUND_STEPS = 10
LONGEST_S = 0.8
ROWS_A_NIGHT = 1200


@dataclass(frozen=True, kw_only=True)
class Night:
    """One time that everything was killed, and what followed."""

    head: Commit
    """What the store had as head while nothing lived."""
    resumed_at: int
    """Version that the first process back in took up."""
    took_s: float
    """From the restart to the next commit."""
    ranks: Sequence[Ranks]
    """The processes started afterwards."""


def everything(
    nursery: Nursery, folder: Path, *, seed: int = 0, kills: int = 10, durable: bool = True
) -> dict[str, Any]:
    """Kill all ranks at once, `kills` times, in every other case etcd too, and start all of them again.

    Every other kill is aimed at the moment after a commit in which, without `durable`
    (state.durable_before_commit), its snapshot is not there yet.
    """
    chance = random.Random(seed)
    state = {"durable_before_commit": durable}
    sections = {"round": {"steps": ROUND_STEPS}, "state": state}
    with Lab(folder, nursery, rows=ROWS_A_NIGHT, passes=kills + 2, **sections) as lab:
        ranks: Sequence[Ranks] = list(lab.start_together().values())
        nights: list[Night] = []
        for number in range(kills):
            _await_moment(lab, ranks, chance, aimed=number % 2 == 1)
            nights.append(_kill_and_resume(lab, ranks, etcd=number % 2 == 0))
            ranks = nights[-1].ranks
        results = lab.finish(*ranks)
        assert len({result["hash"] for result in results}) == 1
        behind = [night.head.version - night.resumed_at for night in nights]
        assert set(behind) <= ({0} if durable else {0, 1}), f"resumed {behind} versions behind head"
        _check_hashes(lab, nights)
        times = [night.took_s for night in nights]
        return {
            "kills": kills,
            "kills_of_etcd": (kills + 1) // 2,
            "resumed_behind": behind,
            "restart_to_commit_s": statistics.median(times),
            "restart_to_commit_worst_s": max(times),
            **verify(lab),
        }


def _await_moment(lab: Lab, ranks: Sequence[Ranks], chance: random.Random, *, aimed: bool) -> None:
    """Let the run go on for a while; an aimed kill has then hit the lowest rank after a commit of its own."""
    lab.wait_for(lambda: any(lab.events.of("commit", ranks=one) for one in ranks), "a commit")
    if aimed:
        lab.commit_by(ranks[0], 0)
        lab.arm(ranks[0], "KILL", "SnapshotSoon")
        lab.wait_for(lambda: lab.fired(ranks[0]), "the kill between commit and snapshot")
    else:
        lab.let_pass(chance.uniform(0.0, LONGEST_S))


def _kill_and_resume(lab: Lab, ranks: Sequence[Ranks], *, etcd: bool) -> Night:
    for one in ranks:
        one.send(signal.SIGKILL)
    if etcd:
        lab.server.kill()
    for one in ranks:
        lab.wait_for(lambda one=one: one.code is not None, f"the death of {one}")
        assert one.code == -signal.SIGKILL, f"{one} ended with {one.code} before it was killed"
    if etcd:
        lab.server.start()
    head = lab.head()
    told = [event["version"] for event in lab.events.of("commit")]
    assert max(told, default=0) <= head.version, "a site stood on a version that is not in the store"
    began = time.time()
    following = [lab.start(site) for site in lab.sites]

    def resumed() -> Record | None:
        joined = [event for one in following for event in lab.events.of("joined", ranks=one)]
        return next((event for event in joined if event["how"] != "pulled"), None)

    def committed() -> Record | None:
        commits = [event for one in following for event in lab.events.of("commit", ranks=one)]
        return min(commits, key=wall, default=None)

    first = lab.wait_for(resumed, "the run resumed")
    commit = lab.wait_for(committed, "a commit after the dark")
    return Night(head=head, resumed_at=first["version"], took_s=wall(commit) - began, ranks=following)


def _check_hashes(lab: Lab, nights: Sequence[Night]) -> None:
    """What followed each kill stands on the very bytes that the record named."""
    past = history(lab).heads
    for night in nights:
        place = max(index for index, one in enumerate(past) if one == night.head)
        base = night.head.hash if night.resumed_at == night.head.version else night.head.parent
        following = next(one for one in past[place + 1 :] if one.version == night.resumed_at + 1)
        assert following.parent == base, f"version {following.version} does not stand on {base[:8]}"
