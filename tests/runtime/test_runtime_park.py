"""A site is drained, stays in memory, and is asked back: the same process goes on at once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from lab import SITE, Lab, sorted_rows
from nursery import Ranks

from curtail_dist.membership.notice import Notice
from curtail_dist.membership.records import Presence

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]
BACK_S = 2.0
"""Real time from being asked back to the first inner step; twice what is promised, for busy cores."""


@dataclass
class Story:
    lab: Lab
    a: Ranks
    asked_back: datetime
    result: dict[str, Any]


@pytest.fixture(scope="module")
def story(make_lab, store) -> Story:
    """a trains alone, is drained, parks, is asked back, does the rest; any absence counts as a long one."""
    parking = {**SITE, "provisioner": {"park_s": 60.0}}
    lab = make_lab(
        "park",
        sites={"a": parking},
        train={"step_s": 0.005, "warmup_steps": 7},
        state={"inner_max_age_s": 0.0},
    )
    a = lab.start("a")
    lab.until_commit(2, of=a)
    store.put(lab.keys.drain("a"), Notice(reason="a test").encode())

    def parked() -> bool:
        entry = store.get(lab.keys.member("a"))
        return entry is not None and Presence.decode(entry.value).parked

    lab.until(parked, "a parked")
    asked_back = datetime.now(UTC)
    store.delete(lab.keys.drain("a"))
    return Story(lab=lab, a=a, asked_back=asked_back, result=a.result())


def test_it_left_in_order_and_said_that_it_is_parked(story):
    (drained,) = story.lab.events("drained", of=story.a)
    assert drained.wall < story.asked_back
    phases = [record["phase"] for record in story.lab.events("phase", of=story.a)]
    assert "parked" in phases


def test_it_is_back_at_once_in_the_same_process(story):
    founded, resumed = story.lab.events("joined", of=story.a)
    assert (founded["how"], resumed["how"]) == ("founded", "resumed")
    first = min(
        record.wall for record in story.lab.events("step", of=story.a) if record.wall > story.asked_back
    )
    assert (first - story.asked_back).total_seconds() < BACK_S


def test_no_step_and_no_row_is_lost_over_it(story):
    assert sorted_rows(story.lab.committed_rows())
    assert story.lab.steps_done(story.a) == story.lab.steps_committed("a")
    assert story.result["version"] == max(story.lab.chain())


def test_it_begins_gently_where_its_inner_state_is_too_old(story):
    assert story.result["gentle"] == 7
