"""SIGSTOP of one of three sites inside an exchange of 160 MB, and SIGCONT when the others have gone on."""

import random
import signal
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from faults.kills import bulk_lab, check_inside_exchange, delay, survived, usual_exchange_s
from faults.lab import STEP_S, TTL_S, Lab
from faults.record import wall
from faults.rounds import sent_again
from faults.truth import history, lost_steps, verify


def inside_exchange(nursery: Nursery, folder: Path, *, seed: int = 0, baseline: int = 4) -> dict[str, Any]:
    """Stop a site while 160 MB travel; wake it when the others have committed without it."""
    chance = random.Random(seed)
    with bulk_lab(folder, nursery, baseline + 3) as lab:
        ranks = lab.start_together()
        victim = ranks[lab.sites[seed % len(lab.sites)]]
        lab.commit_by(victim, baseline + 1)
        lease = lab.store.grant(TTL_S)
        lease.revoke()
        lab.arm(victim, "STOP", "GatherPayloads", share=chance.uniform(0.3, 0.8))
        proof = lab.wait_for(lambda: lab.fired(victim), "the stop")
        lab.wait_for(lambda: victim.stopped, "the victim stopped")
        survivors = [one for one in ranks.values() if one is not victim]
        for one in survivors:
            lab.commit_by(one, proof["version"])
        assert victim.stopped, "it hung until the others had gone on"
        lab.pace("hold")  # the run must not be complete before it is back
        woken = victim.send(signal.SIGCONT)
        lab.wait_for(lambda: victim.site in lab.ready(), "the woken site ready to enter")
        lab.pace(STEP_S)
        back = lab.wait_for(lambda: _joined(lab, victim, after=woken), "the woken site in the run again")
        lab.commit_by(victim, back["version"] + 1)
        results = lab.finish(*ranks.values())

        check_inside_exchange(lab, victim, proof)
        _check_fenced(lab, victim, proof["version"], back["version"])
        assert len({result["hash"] for result in results}) == 1
        again = max(sent_again(lab, one, proof["version"]) for one in survivors)
        return {
            **delay(lab, survivors, list(ranks.values()), proof, sent_s=proof["inside_s"]),
            "ttl_s": lease.ttl,
            "stop_to_resend_s": again - proof["wall"],
            "wake_to_rejoined_s": wall(back) - woken,
            "exchange_s": usual_exchange_s(lab, survivors, proof),
            "victim": victim.site,
            **survived(lab, survivors),
            "victim_lost_steps": lost_steps(lab, victim.site),
            **verify(lab),
        }


def _joined(lab: Lab, ranks: Ranks, *, after: float) -> Any:
    return next((one for one in lab.events.of("joined", ranks=ranks) if wall(one) > after), None)


def _check_fenced(lab: Lab, victim: Ranks, stopped_in: int, back_at: int) -> None:
    """Nothing of the victim's is in the chain from the round it hung in until it was admitted again."""
    assert back_at >= stopped_in, "it came back to the chain that went on without it"
    chain = history(lab).chain
    for version in range(stopped_in, back_at + 1):
        assert victim.site not in [work.site for work in chain[version].work]
    told = [one["version"] for one in lab.events.of("commit", ranks=victim)]
    assert not set(told) & set(range(stopped_in, back_at + 1)), "it stood on versions that it had no part in"
    assert lab.events.of("round_discarded", ranks=victim), "it threw its own round away"
