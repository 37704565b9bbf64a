"""SIGKILL of one of three sites: between syncs, and inside an exchange of 160 MB."""

import random
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from faults.lab import Lab
from faults.program import BATCH_ROWS
from faults.record import wall
from faults.rounds import ending, exchanges_s, median_s, sent_again, usual
from faults.truth import lost_steps, verify

BASELINE = 6
BULK = 40_000_000
"""Parameters: 160 MB in fp32."""
BULK_STEPS = 5
BULK_ROUND_ROWS = 3 * BULK_STEPS * BATCH_ROWS


def bulk_lab(folder: Path, nursery: Nursery, rounds: int) -> Lab:
    """Three sites whose payloads are of 160 MB, with rows for about so many rounds of all three."""
    return Lab(
        folder,
        nursery,
        rows=rounds * BULK_ROUND_ROWS,
        round={"steps": BULK_STEPS},
        outer={"optimizer": "average"},  # no momentum: a state of 160 MB, too
        train={"bulk": BULK},
        state={"durable_before_commit": False},  # the disk in the background, not in each round's end
    )


def between_syncs(nursery: Nursery, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Kill a site in the middle of its inner steps; how much longer does the survivors' next commit take?"""
    chance = random.Random(seed)
    with Lab(folder, nursery, rows=3600) as lab:
        ranks = lab.start_together()
        victim = ranks[lab.sites[seed % len(lab.sites)]]
        lab.commit_by(victim, BASELINE)
        steps = chance.randrange(3, 15)
        lab.arm(victim, "KILL", "step", steps=steps)
        proof = lab.wait_for(lambda: lab.fired(victim), "the kill")
        survivors = [one for one in ranks.values() if one is not victim]
        commits = [lab.commit_by(one, proof["version"]) for one in survivors]
        lab.finish(*survivors)

        last = lab.events.last(victim)
        assert (last.event, last.round) == ("step", proof["version"]), "the victim died inside inner steps"
        open_steps = [one for one in lab.events.of("step", ranks=victim) if one.round == proof["version"]]
        assert len(open_steps) == steps
        for commit in commits:
            assert victim.site not in [work["site"] for work in commit["work"]]
        return {
            **delay(lab, survivors, list(ranks.values()), proof),
            "victim": victim.site,
            "steps_into_round": steps,
            **survived(lab, survivors),
            "victim_lost_steps": lost_steps(lab, victim.site),
            **verify(lab),
        }


def inside_exchange(nursery: Nursery, folder: Path, *, seed: int = 0, baseline: int = 4) -> dict[str, Any]:
    """Kill a site while 160 MB travel; how much longer, beyond sending again, does the next commit take?"""
    chance = random.Random(seed)
    with bulk_lab(folder, nursery, baseline + 2) as lab:
        ranks = lab.start_together()
        victim = ranks[lab.sites[seed % len(lab.sites)]]
        lab.commit_by(victim, baseline + 1)
        lab.arm(victim, "KILL", "GatherPayloads", share=chance.uniform(0.3, 0.8))
        proof = lab.wait_for(lambda: lab.fired(victim), "the kill")
        survivors = [one for one in ranks.values() if one is not victim]
        for one in survivors:
            lab.commit_by(one, proof["version"])
        lab.finish(*survivors)

        check_inside_exchange(lab, victim, proof)
        again = max(sent_again(lab, one, proof["version"]) for one in survivors)
        return {
            **delay(lab, survivors, list(ranks.values()), proof, sent_s=proof["inside_s"]),
            "kill_to_resend_s": again - proof["wall"],
            "exchange_s": usual_exchange_s(lab, survivors, proof),
            "inside_s": proof["inside_s"],
            "victim": victim.site,
            **survived(lab, survivors),
            **verify(lab),
        }


def check_inside_exchange(lab: Lab, victim: Ranks, proof: dict[str, Any]) -> None:
    """The fault fired after the victim's payloads began to travel and before it had all of them."""
    before = [one for one in lab.probes(victim) if one["wall"] <= proof["wall"]]
    assert (before[-1]["effect"], before[-1]["version"]) == ("GatherPayloads", proof["version"])
    assert 0 < proof["inside_s"] < 1.5 * proof["usual_s"]
    phases = [one for one in lab.events.of("phase", ranks=victim) if wall(one) <= proof["wall"]]
    assert phases[-1]["phase"] == "sync"
    versions = [one["version"] for one in lab.events.of("commit", ranks=victim) if wall(one) <= proof["wall"]]
    assert max(versions) == proof["version"] - 1


def usual_exchange_s(lab: Lab, ranks: list[Ranks], proof: dict[str, Any]) -> float:
    """Median time of an exchange before the fault."""
    times = sorted(s for one in ranks for s in exchanges_s(lab, one, before=proof["version"]))
    return times[len(times) // 2]


def survived(lab: Lab, survivors: list[Ranks]) -> dict[str, Any]:
    """What survivors lost: no step, and none of them ended before its time."""
    lost = {one.site: lost_steps(lab, one.site) for one in survivors}
    assert not any(lost.values()), f"survivors lost steps: {lost}"
    for one in survivors:
        assert not lab.events.of("round_discarded", ranks=one)
    return {"survivors_lost_steps": sum(lost.values())}


def delay(
    lab: Lab, survivors: list[Ranks], all_ranks: list[Ranks], proof: dict[str, Any], *, sent_s: float = 0.0
) -> dict[str, float]:
    """How much later than usual the survivors' next commit came, beyond what had been sent in vain.

    Counted from the fault or from the survivors' boundary, whichever is later; usual is the median time from
    the members' boundary to their commit in the rounds before.
    """
    version = proof["version"]
    hit = ending(lab, version, survivors)
    assert hit is not None, "the survivors ended the round in which the fault fired"
    began = hit.boundary if sent_s else max(hit.boundary, proof["wall"])
    usual_s = median_s(usual(lab, all_ranks, before=version))
    return {
        "beyond_s": hit.committed - began - usual_s - sent_s,
        "commit_s": hit.committed - began,
        "usual_commit_s": usual_s,
    }
