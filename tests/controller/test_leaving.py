"""How long ranks that were told to end are left alone before they are killed."""

import pytest

from curtail_dist.membership.agent.leaving import Leaving, Limits
from curtail_dist.testing.provisioner import ScriptedProvisioner

LIMITS = Limits(stop_s=35.0)


def pressed(leaving: Leaving, *, told: int = 0) -> bool:
    """Press stubborn ranks once; say whether they were killed."""
    provisioner = ScriptedProvisioner()
    provisioner.stubborn = True
    provisioner.start()
    leaving.press(provisioner, LIMITS, site="a", told=told)
    return not provisioner.poll().running


@pytest.fixture
def told_ago(monkeypatch: pytest.MonkeyPatch):
    def make(seconds: float, **given: float) -> Leaving:
        leaving = Leaving(stopped_at=1000.0, **given)
        monkeypatch.setattr("time.monotonic", lambda: 1000.0 + seconds)
        return leaving

    return make


@pytest.mark.parametrize(("grace_s", "killed_after_s"), [(0.0, 35.0), (20.0, 35.0), (120.0, 120.0)])
def test_they_are_killed_after_the_agents_time_or_that_of_who_holds_them(told_ago, grace_s, killed_after_s):
    assert not pressed(told_ago(killed_after_s - 1.0, grace_s=grace_s))
    assert pressed(told_ago(killed_after_s + 1.0, grace_s=grace_s))


def test_an_agent_that_was_told_twice_has_them_killed_at_once(told_ago):
    assert pressed(told_ago(1.0, grace_s=120.0), told=2)


def test_ranks_of_no_use_are_killed_at_once():
    leaving = Leaving.at_once()
    leaving.grace_s = 120.0
    assert pressed(leaving)
