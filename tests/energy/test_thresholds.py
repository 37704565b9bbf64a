import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.energy.policy import PolicyMemory, Threshold
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.thresholds import threshold_windows

VALUES = st.sampled_from([50.0, 99.9, 100.0, 140.0, 200.0, 300.0, math.nan])


def asked(row, rule, poll_s):
    """Return whether a site is on after each poll, asking the rule itself."""
    memory, running, found = PolicyMemory(), False, []
    for poll, value in enumerate(row):
        now = poll * poll_s
        reading = None if math.isnan(value) else Reading(value=value, measured_at=now)
        decision, memory = rule.decide(memory, running=running, reading=reading, now=now)
        running = {"start": True, "drain": False, "keep": running}[decision.action]
        found.append(running)
    return found


@given(
    rows=st.integers(1, 40).flatmap(
        lambda polls: st.lists(st.lists(VALUES, min_size=polls, max_size=polls), min_size=1, max_size=3)
    ),
    leave_at=st.sampled_from([None, 100.0, 150.0]),
    delay=st.sampled_from([0.0, 60.0, 90.0, 600.0]),
)
def test_the_rule_at_once_is_the_rule_poll_by_poll(rows, leave_at, delay):
    rule = Threshold(threshold=100.0, leave_at=leave_at, leave_delay_s=delay)
    found = threshold_windows(rows, rule, poll_s=60.0)
    assert found.on.tolist() == [asked(row, rule, 60.0) for row in rows]


def test_on_periods_are_those_of_the_polls():
    rule = Threshold(threshold=100.0, leave_delay_s=0.0)
    found = threshold_windows(np.array([[50.0, 200.0, 50.0, 50.0]]), rule, poll_s=300.0)
    assert found.windows(0) == [(0.0, 300.0), (600.0, 1200.0)]
    assert found.hours.tolist() == [0.25]
