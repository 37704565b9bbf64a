"""What a joiner costs the others: how much longer they wait at the boundary at which it enters."""

import signal
import statistics
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from faults.lab import STEP_S, Lab
from faults.record import wall
from faults.truth import lost_steps, verify

SETTLED = 5
BETWEEN = 3
ROWS_A_JOIN = 2400


def repeatedly(nursery: Nursery, folder: Path, *, seed: int = 0, joins: int = 10) -> dict[str, Any]:
    """Let a third site join and drain, `joins` times, while two train on.

    A stall counts from a member's last inner step to its next state, so waiting for the others' step and the
    exchange itself are in all of them. `extra_s` is the median, over members and joins, of the stall at the
    commit at which a joiner enters over the members' usual stall; `extra_after_s` is the same at the first
    commit to which the joiner contributes.
    """
    del seed
    with Lab(folder, nursery, rows=ROWS_A_JOIN, passes=joins + 2) as lab:
        members, joiners = _members(lab), []
        for _ in range(joins):
            joiner = lab.start("c")
            joiners.append(joiner)
            (came,) = lab.wait_for(lambda one=joiner: lab.events.of("joined", ranks=one), "c in the run")
            lab.commit_by(joiner, came["version"] + BETWEEN)
            joiner.send(signal.SIGTERM)
            lab.wait_for(lambda one=joiner: one.code is not None, "c drained")
            lab.commit_by(members[0], _newest(lab, members[0]) + BETWEEN)
        lab.finish(*members)

        came = [lab.events.of("joined", ranks=one)[0]["version"] + 1 for one in joiners]
        stalls = _stalls(lab, members)
        usual = statistics.median(
            stall for (_, version), stall in stalls.items() if not {version, version - 1} & set(came)
        )
        extra = [stall - usual for (_, version), stall in stalls.items() if version in came]
        after = [stall - usual for (_, version), stall in stalls.items() if version - 1 in came]
        assert len(extra) == joins * len(members), "each member saw each joiner come"
        joined = [lab.events.of("joined", ranks=one)[0]["wall_s"] for one in joiners]
        assert not any(lost_steps(lab, site) for site in lab.sites)
        return {
            "joins": joins,
            "extra_s": statistics.median(extra),
            "extra_worst_s": max(extra),
            "extra_after_s": statistics.median(after),
            "extra_after_worst_s": max(after),
            "stall_without_s": usual,
            "join_wall_s": statistics.median(joined),
            **verify(lab),
        }


def _members(lab: Lab) -> list[Ranks]:
    """Start two sites and wait until both are well in."""
    lab.pace("hold")
    members = [lab.start("a")]
    lab.wait_for(lambda: lab.events.of("joined", ranks=members[0]), "the founder in the run")
    members.append(lab.start("b"))
    lab.wait_for(lambda: "b" in lab.ready(), "b ready to enter")
    lab.pace(STEP_S)
    lab.commit_by(members[1], SETTLED)
    return members


def _newest(lab: Lab, ranks: Ranks) -> int:
    return max(one["version"] for one in lab.events.of("commit", ranks=ranks))


def _stalls(lab: Lab, members: list[Ranks]) -> dict[tuple[str, int], float]:
    """The members' stalls while c came and went: not at their own coming in, nor at the end at full speed."""
    last = max(wall(one) for one in lab.events.of("drained", site="c"))
    every = [one for member in members for one in lab.events.of("commit", ranks=member)]
    return {
        (one.site, one["version"]): one["stall_s"]
        for one in every
        if one["version"] >= SETTLED and wall(one) <= last
    }
