"""An operator's orders, as the agent of a site follows them."""

from datetime import UTC, datetime, timedelta

import pytest
from hand import DIRTY, KEYS, WAIT_S, Hand, eventually

from curtail_dist.coordination import MemoryStore
from curtail_dist.membership.agent.controller import STOPPED
from curtail_dist.membership.agent.orders import Order
from curtail_dist.membership.records import Commit


def order(hand: Hand, kind: str, **fields) -> None:
    """Give an order, as the operator's verbs do."""
    given = Order(kind=kind, reason="a test", by="op@desk", given=datetime.now(UTC), **fields)
    key = KEYS.stop if kind == "stop" else KEYS.order("texas")
    MemoryStore.put(hand.stage.store, key, given.encode())


def release(hand: Hand) -> None:
    MemoryStore.delete(hand.stage.store, KEYS.order("texas"))


def test_a_held_site_does_not_start_until_it_is_released(stage, hand):
    order(hand, "hold")
    hand.begin()
    hand.polls_on()
    eventually(lambda: hand.shows(lambda state: "hold by op@desk: a test" in state.order))
    assert stage.provisioner.starts == 0
    (decided,) = stage.events("decided")
    assert (decided["action"], decided["by"]) == ("keep", "operator")
    release(hand)
    eventually(lambda: stage.provisioner.starts == 1)
    assert [record["order"] for record in stage.events("ordered")] == ["hold", "release"]


def test_a_release_waits_for_no_poll(stage, hand, make_config):
    stage.config = make_config(policy={"poll_s": 3600.0})
    order(hand, "hold")
    hand.begin()
    eventually(lambda: hand.grid.asked == 1)
    release(hand)
    eventually(lambda: stage.provisioner.starts == 1)
    assert hand.grid.asked == 2


def test_an_order_that_has_expired_stands_no_more(stage, hand):
    order(hand, "hold", until=datetime.now(UTC) - timedelta(seconds=1))
    hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    assert not stage.events("ordered")


def test_a_held_site_that_is_on_stays_until_its_policy_has_it_leave(stage, hand):
    hand.begin_on()
    order(hand, "hold")
    eventually(lambda: stage.events("ordered"))
    hand.polls_on()
    assert stage.at == "on"
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "draining")
    hand.grid.value = 50.0
    hand.polls_on()
    assert stage.at == "draining"


def test_a_hold_cancels_a_join(stage, hand):
    hand.begin()
    eventually(lambda: stage.at == "joining")
    order(hand, "hold")
    eventually(lambda: stage.at == "off")
    hand.polls_on()
    assert stage.provisioner.starts == 1


def test_a_site_that_is_to_drain_leaves_and_does_not_come_back_before_it_is_released(stage, hand):
    hand.begin_on()
    order(hand, "drain")
    eventually(lambda: hand.notice() is not None)
    assert "a test" in hand.notice().reason
    stage.provisioner.finish(0)
    eventually(lambda: stage.at == "off")
    hand.polls_on()
    assert stage.provisioner.starts == 1
    release(hand)
    eventually(lambda: stage.provisioner.starts == 2)
    drain = next(record for record in stage.events("decided") if record["action"] == "drain")
    assert drain["by"] == "operator"
    assert drain["g_per_kwh"] == 50.0


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_stop_has_the_site_leave_and_its_agent_end(stage, hand, after_commit):
    head = Commit(version=4, hash="h4", parent="h3", epoch=1, total_rows=9)
    MemoryStore.put(stage.store, KEYS.head, head.encode())
    running = hand.begin_on()
    order(hand, "stop", after_commit=after_commit)
    eventually(lambda: hand.notice() is not None)
    assert hand.notice().after_commit is after_commit
    assert (hand.asks_to_close() is None) is after_commit
    assert not running.done()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == STOPPED
    assert "curtail release" in stage.agent.outcome
    assert not stage.events("ranks_died")


def test_an_agent_that_comes_to_a_stopped_run_ends_without_starting_anything(stage, hand):
    order(hand, "stop")
    assert hand.begin().result(WAIT_S) == STOPPED
    assert stage.provisioner.starts == 0


def test_an_order_that_cannot_be_read_is_shown_and_the_last_one_stands(stage, hand):
    order(hand, "hold")
    hand.begin()
    eventually(lambda: stage.events("ordered"))
    MemoryStore.put(stage.store, KEYS.order("texas"), b"{}")
    eventually(lambda: hand.shows(lambda state: "operator" in state.troubles))
    hand.polls_on()
    assert stage.provisioner.starts == 0
    assert stage.events("trouble")[0]["part"] == "operator"
