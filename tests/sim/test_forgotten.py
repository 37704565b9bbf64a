"""The store loses all data in schedules that have faults of their own, and an operator recovers the run."""

import random
from dataclasses import replace
from typing import Any

import pytest

from curtail_dist.membership import effects as do
from curtail_dist.membership.part import Part
from curtail_dist.sim.altering import Alter, altered
from curtail_dist.sim.run import Outcome, play
from curtail_dist.sim.schedule import draw
from curtail_dist.sim.setting import OPERATOR, Fault, Setting

pytestmark = pytest.mark.fault
SCHEDULES = 100
MORE_S = 30.0
"""Time that a schedule gets beyond its own, for each loss."""


def forgetful(seed: int) -> Setting | None:
    """The schedule of a seed, and losses of the store in it; None where sites do not share snapshots."""
    setting, dice = draw(seed), random.Random(seed)
    if not setting.shared:
        return None
    losses = [
        Fault(kind="forget", at=dice.uniform(1.0, setting.calm_at), lasts=dice.uniform(0.5, 8.0))
        for _ in range(dice.choice((1, 1, 2)))
    ]
    faults = sorted((*setting.faults, *losses), key=lambda fault: fault.at)
    more = MORE_S * len(losses)
    return replace(
        setting, faults=tuple(faults), calm_at=setting.calm_at + 10.0, deadline=setting.deadline + more
    )


def recovered(outcome: Outcome) -> bool:
    return any(write.who == OPERATOR for write in outcome.history.of("write"))


def refused(outcome: Outcome) -> int:
    return sum("RunForgotten" in str(end.what) for end in outcome.history.of("ended"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_that_is_recovered_breaks_no_invariant():
    settings = [setting for seed in range(SCHEDULES) if (setting := forgetful(seed)) is not None]
    outcomes = [play(setting) for setting in settings]
    broken = {outcome.setting.seed: outcome.wrong for outcome in outcomes if outcome.wrong}
    assert not broken
    assert sum(map(recovered, outcomes)) > SCHEDULES / 2
    assert sum(map(refused, outcomes)) > SCHEDULES / 2


def test_a_store_that_has_lost_the_run_does_not_see_it_founded_anew(case):
    played = case(faults=(Fault(kind="forget", at=8.0, lasts=6.0),))
    assert [reason for reason, _ in played.epochs()].count("founded") == 1
    assert ("recovered", ()) in played.epochs()
    first = next(one for one in played.chain.heads if one.writer == OPERATOR)
    assert first.before is not None
    assert first.commit.version >= first.before.version, "each version is durable before its commit"
    resumed = [seated for seated in played.chain.epochs if seated.at > first.at]
    assert resumed[0].epoch.reason == "resumed"
    assert resumed[0].epoch.number == first.epoch.number + 1
    assert {"RunForgotten"} <= {str(end.what).split(":")[0] for end in played.of("ended")}


def founds_over_snapshots(part: Part) -> Alter:
    """Does not look whether there are snapshots before it founds a run."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Newest):
            return 0
        return (yield effect)

    return alter


@pytest.mark.slow
def test_the_invariants_see_a_run_that_is_founded_anew_over_its_snapshots():
    mutant = altered(founds_over_snapshots)
    settings = (setting for seed in range(SCHEDULES) if (setting := forgetful(seed)) is not None)
    wrong = (one for setting in settings for one in play(setting, mutant).wrong)
    assert any("versions were lost with the store" in one for one in wrong)
