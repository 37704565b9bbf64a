import pytest

from curtail_dist.config import PolicyConfig
from curtail_dist.energy import PolicyMemory, Reading, build_policy
from curtail_dist.energy.policy import next_plan

THRESHOLD = build_policy(PolicyConfig(threshold_g_per_kwh=100.0, leave_delay_s=600.0))
ALWAYS = build_policy(PolicyConfig(kind="always"))


def reading(value, measured_at=0.0):
    return Reading(value=value, measured_at=measured_at)


def play(policy, script, *, running):
    """Return the actions for (now, value or None, measured_at) in order, obeying them."""
    memory, actions = PolicyMemory(), []
    for now, value, measured_at in script:
        seen = None if value is None else reading(value, measured_at)
        decision, memory = policy.decide(memory, running=running, reading=seen, now=now)
        actions.append(decision.action)
        running = {"start": True, "drain": False, "keep": running}[decision.action]
    return actions


def test_a_site_starts_below_the_threshold_and_not_at_it():
    assert play(THRESHOLD, [(0, 100.0, 0), (10, 99.9, 10), (20, 99.9, 10)], running=False) == [
        "keep",
        "start",
        "keep",
    ]


def test_the_leave_delay_counts_from_the_first_poll_that_sees_it_as_the_prototype_s_does():
    script = [(90, 50, 0), (400, 120, 300), (999.9, 120, 300), (1000, 120, 300)]
    assert play(THRESHOLD, script, running=True) == ["keep", "keep", "keep", "drain"]


def test_a_second_value_above_does_not_restart_the_delay():
    script = [(300, 120, 300), (600, 400, 600), (900, 130, 900)]
    assert play(THRESHOLD, script, running=True) == ["keep", "keep", "drain"]


def test_a_dip_below_restarts_the_delay():
    script = [(300, 120, 300), (800, 99, 800), (850, 120, 840), (1449, 120, 840), (1450, 120, 840)]
    assert play(THRESHOLD, script, running=True) == ["keep", "keep", "keep", "keep", "drain"]


def test_a_timestamp_from_the_future_does_not_lengthen_the_stay():
    script = [(0, 120, 500), (600, 120, 500)]
    assert play(THRESHOLD, script, running=True) == ["keep", "drain"]


def test_without_a_leave_delay_a_site_leaves_at_once():
    policy = build_policy(PolicyConfig(leave_delay_s=0.0))
    assert play(policy, [(0, 50, 0), (300, 100, 300)], running=True) == ["keep", "drain"]


@pytest.mark.parametrize("policy", [THRESHOLD, ALWAYS])
def test_unknown_is_not_green(policy):
    assert play(policy, [(0, None, 0)], running=False) == ["keep"]
    assert play(policy, [(0, None, 0)], running=True) == ["drain"]


def test_always_starts_at_any_known_intensity_and_stays():
    assert play(ALWAYS, [(0, 900, 0), (9999, 900, 0)], running=False) == ["start", "keep"]


def test_a_decision_says_why():
    decision, _ = THRESHOLD.decide(PolicyMemory(), running=False, reading=reading(61.2), now=0.0)
    assert decision.reason == "61.2 g/kWh is below 100"


def test_between_two_thresholds_a_site_stays_as_it_is():
    policy = build_policy(PolicyConfig(leave_at_g_per_kwh=200.0, leave_delay_s=0.0))
    script = [(0, 150, 0), (60, 99, 60), (120, 150, 120), (180, 200, 180), (240, 150, 240)]
    assert play(policy, script, running=False) == ["keep", "start", "keep", "drain", "keep"]


def test_a_dip_between_two_thresholds_restarts_the_delay():
    policy = build_policy(PolicyConfig(leave_at_g_per_kwh=200.0, leave_delay_s=100.0))
    script = [(0, 250, 0), (60, 150, 60), (120, 250, 120), (180, 250, 180), (220, 250, 220)]
    assert play(policy, script, running=True) == ["keep", "keep", "keep", "keep", "drain"]


def test_after_a_drain_was_decided_the_mark_is_set_anew():
    _, memory = THRESHOLD.decide(PolicyMemory(), running=True, reading=reading(150), now=0.0)
    decision, memory = THRESHOLD.decide(memory, running=True, reading=reading(150), now=600.0)
    assert (decision.action, memory.above_since) == ("drain", None)
    decision, memory = THRESHOLD.decide(memory, running=False, reading=reading(150), now=610.0)
    assert (decision.action, memory.above_since) == ("keep", 610.0)


@pytest.mark.parametrize("policy", [THRESHOLD, ALWAYS])
def test_after_the_signal_was_lost_it_takes_two_readings_to_start(policy):
    script = [(0, None, 0), (60, 50, 60), (120, None, 120), (180, 50, 180), (240, 50, 240)]
    assert play(policy, script, running=False) == ["keep", "keep", "keep", "keep", "start"]


@pytest.mark.parametrize("policy", [THRESHOLD, ALWAYS])
def test_an_earlier_forecast_keeps_a_site_on_and_starts_none(policy):
    foreseen = Reading(value=50.0, measured_at=0.0, from_forecast=True)

    def action(running, memory):
        return policy.decide(memory, running=running, reading=foreseen, now=0.0)[0].action

    assert action(True, PolicyMemory()) == "keep"
    assert action(False, PolicyMemory()) == "keep"
    _, lost = policy.decide(PolicyMemory(), running=True, reading=None, now=0.0)
    for _ in range(3):
        decision, lost = policy.decide(lost, running=False, reading=foreseen, now=0.0)
    decision, _ = policy.decide(lost, running=False, reading=reading(50.0), now=0.0)
    assert decision.action == "keep"  # forecasts do not count towards the two that are needed


PRICE = build_policy(PolicyConfig(kind="work-price"))


@pytest.mark.parametrize(
    ("running", "wanted", "action", "capped"),
    [
        (False, "on", "start", False),
        (False, "capped", "start", True),
        (False, "off", "keep", False),
        (False, "late", "start", False),
        (False, None, "keep", False),
        (True, "on", "keep", False),
        (True, "capped", "keep", True),
        (True, "off", "drain", False),
        (True, None, "keep", False),
    ],
)
def test_a_work_price_does_what_the_plan_wants(running, wanted, action, capped):
    decision, _ = PRICE.decide(
        PolicyMemory(), running=running, reading=reading(300.0), now=0.0, wanted=wanted
    )
    assert (decision.action, decision.capped) == (action, capped)


def test_a_work_price_says_that_the_work_does_not_fit():
    decision, _ = PRICE.decide(PolicyMemory(), running=True, reading=reading(300.0), now=0.0, wanted="late")
    assert decision.action == "keep"
    assert decision.reason == "300 g/kWh, and the work does not fit before the deadline: all are on"


def test_a_work_price_without_a_reading_follows_no_plan():
    assert PRICE.decide(PolicyMemory(), running=True, reading=None, now=0.0, wanted="on")[0].action == "drain"
    assert PRICE.decide(PolicyMemory(), running=False, reading=None, now=0.0, wanted="on")[0].action == "keep"


@pytest.mark.parametrize(
    ("now", "start_s", "due"),
    [
        (0.0, 0.0, 300.0),
        (299.9, 0.0, 300.0),
        (300.0, 0.0, 600.0),
        (0.0, 1_774_094_550.0, 150.0),  # 12:02:30
        (150.0, 1_774_094_550.0, 450.0),
        (7000.0, 1_774_094_550.0, 7050.0),
    ],
)
def test_plans_are_made_at_whole_multiples_in_utc(now, start_s, due):
    assert next_plan(now, every_s=300.0, start_s=start_s) == due
