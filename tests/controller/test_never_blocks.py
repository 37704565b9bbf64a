"""An agent goes on looking at its signal while ranks join, drain or hang, and takes back what it asked."""

import threading

import pytest
from hand import DIRTY, GREEN, KEYS, WAIT_S, eventually

from curtail_dist.coordination import MemoryStore
from curtail_dist.energy.policy import Threshold
from curtail_dist.errors import UserError
from curtail_dist.membership.agent.controller import COMPLETE, INTERRUPTED
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.membership.records import Commit
from curtail_dist.membership.refusal import Refusal
from curtail_dist.telemetry.joining import DECIDED_AT
from curtail_dist.testing.provisioner import KILLED, STOPPED, ScriptedProvisioner


def test_the_signal_is_looked_at_while_ranks_drain_and_a_drain_is_taken_back(stage, hand):
    running = hand.begin_on()
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "draining" and hand.notice() is not None)
    hand.polls_on()
    hand.grid.value = GREEN
    eventually(lambda: hand.stages() == ["joining", "on", "draining", "on"])
    assert hand.notice() is None
    assert stage.provisioner.starts == 1
    stage.finish_run()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    assert not stage.events("ranks_died")


def test_ranks_that_had_left_before_they_were_asked_to_stay_are_started_again(stage, hand):
    hand.begin_on()
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "draining")
    hand.grid.value = GREEN
    eventually(lambda: stage.at == "on")
    stage.provisioner.finish(0)
    eventually(lambda: stage.provisioner.starts == 2)
    assert not stage.events("ranks_died")


def test_a_join_is_cancelled_and_ranks_that_have_not_come_are_stopped_at_once(stage, hand):
    hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    hand.grid.value = DIRTY
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    assert stage.events("ranks_exited")[0]["code"] == STOPPED
    assert not stage.events("ranks_died")
    assert hand.stages() == ["joining", "draining", "off"]


def test_ranks_that_are_registered_are_asked_to_leave_and_not_stopped(stage, hand):
    hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    stage.be_registered()
    eventually(lambda: stage.agent._liaison.registered)
    hand.grid.value = DIRTY
    eventually(lambda: hand.notice() is not None)
    hand.polls_on()
    assert not stage.provisioner.stopping.is_set()
    stage.provisioner.finish(0)
    eventually(lambda: stage.at == "off")


def test_ranks_that_ignore_everything_are_killed_in_the_end_while_the_agent_looks_on(stage, hand):
    stage.limits = Limits(drain_s=0.05, stop_s=0.2)
    stage.provisioner.stubborn = True
    hand.begin_on()
    hand.grid.value = DIRTY
    eventually(stage.provisioner.stopping.is_set)
    hand.polls_on()
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    assert stage.events("ranks_exited")[0]["code"] == KILLED
    assert len(stage.events("ranks_died")) == 1


@pytest.mark.parametrize("error", [RuntimeError("broken"), ValueError("no number")], ids=["runtime", "value"])
def test_a_signal_that_raises_anything_is_unknown_and_shown_until_it_is_mended(stage, hand, error):
    hand.begin_on()
    hand.grid.value = error
    eventually(lambda: stage.at == "draining")
    eventually(lambda: hand.shows(lambda state: str(error) in state.troubles.get("signal", "")))
    hand.grid.value = GREEN
    eventually(lambda: stage.at == "on")
    eventually(lambda: hand.shows(lambda state: not state.troubles))
    (trouble,) = stage.events("trouble")
    assert trouble["part"] == "signal"
    assert [record["part"] for record in stage.events("trouble_over")] == ["signal"]


def test_a_provisioner_that_raises_anything_is_tried_again(stage, hand):
    refuse = threading.Event()

    def start(variables=None) -> None:
        if refuse.is_set():
            raise ZeroDivisionError("a bug of the provisioner")
        ScriptedProvisioner.start(stage.provisioner, variables)

    stage.provisioner.start = start
    refuse.set()
    hand.begin()
    eventually(lambda: len(stage.events("ranks_died")) == 1)
    refuse.clear()
    eventually(lambda: stage.provisioner.starts == 1)
    assert "ZeroDivisionError" in stage.events("ranks_died")[0]["reason"]


def refuse(stage, *, final, start=None):
    """Be ranks that end over what the user gave."""
    start = stage.provisioner.variables[DECIDED_AT] if start is None else start
    told = Refusal(reason="outer.lr is 0.5, the run's is 0.7", start=start, final=final)
    stage.store.put(KEYS.refused("texas"), told.encode())


def test_an_agent_whose_ranks_refuse_for_good_ends_with_what_they_say(stage, hand):
    log = stage.directory / "logs" / "texas.log"
    log.parent.mkdir()
    log.touch()
    running = hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    refuse(stage, final=True)
    with pytest.raises(UserError, match=f"^outer.lr is 0.5, the run's is 0.7; see {log}$"):
        running.result(WAIT_S)
    assert stage.provisioner.stopping.is_set()
    assert stage.provisioner.starts == 1
    (died,) = stage.events("ranks_died")
    assert died["reason"] == f"outer.lr is 0.5, the run's is 0.7; see {log}"
    assert hand.stages() == ["joining", "draining", "off"]


def test_a_rank_that_ended_over_its_refusal_and_was_restarted_is_no_death_of_its_own(stage, hand):
    running = hand.begin_on()
    with hand.between_turns():
        refuse(stage, final=True)
        eventually(lambda: stage.agent._liaison.refusal is not None)
        stage.provisioner.restart_rank()
    with pytest.raises(UserError):
        running.result(WAIT_S)
    assert [record["reason"] for record in stage.events("ranks_died")] == [
        "outer.lr is 0.5, the run's is 0.7"
    ]
    assert hand.stages() == ["joining", "on", "draining", "off"]


def test_ranks_that_refuse_are_not_waited_for_where_the_run_is_complete(stage, hand):
    stage.limits = Limits(drain_s=1e6, stop_s=1e6)
    running = hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    stage.provisioner.stubborn = True
    stage.finish_run()
    eventually(lambda: stage.at == "draining")
    refuse(stage, final=True)
    assert running.result(WAIT_S) == COMPLETE
    assert [record["code"] for record in stage.events("ranks_exited")] == [KILLED]
    assert not stage.events("ranks_died")


def test_what_may_pass_is_tried_again_and_shown_meanwhile(stage, hand):
    running = hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    refuse(stage, final=False)
    eventually(lambda: stage.agent._liaison.refusal is not None)
    stage.provisioner.finish(1)
    eventually(lambda: stage.provisioner.starts == 2)
    (died,) = stage.events("ranks_died")
    assert died["reason"] == "outer.lr is 0.5, the run's is 0.7"
    eventually(lambda: hand.shows(lambda state: state.failure == "outer.lr is 0.5, the run's is 0.7"))
    stage.finish_run()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == 0


def test_what_ranks_of_an_earlier_start_said_is_not_held_against_the_next(stage, hand):
    refuse(stage, final=True, start="1.000")
    running = hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    assert stage.store.get(KEYS.refused("texas")) is None
    refuse(stage, final=True, start="2.000")
    hand.polls_on()
    stage.finish_run()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == 0


def test_a_policy_that_raises_has_the_site_leave(stage, hand):
    class Breaking(Threshold):
        broken = False

        def decide(self, memory, **given):
            if Breaking.broken:
                raise KeyError("a bug of the policy")
            return super().decide(memory, **given)

    stage.policy = Breaking(threshold=100.0, leave_delay_s=0.0)
    hand.begin_on()
    Breaking.broken = True
    eventually(lambda: stage.at == "draining")
    assert stage.events("trouble")[-1]["part"] == "policy"


def test_a_decision_is_in_the_store_and_on_record_with_its_reading(stage, hand):
    hand.begin_on()
    hand.grid.value = DIRTY
    eventually(lambda: hand.notice() is not None)
    record = stage.events("decided")[-1]
    assert (record["action"], record["g_per_kwh"], record["source"]) == ("drain", DIRTY, "hand")
    assert record["measured_t"] == pytest.approx(record.t, abs=1.0)
    assert hand.notice().reason == record["reason"]


def test_others_are_asked_at_once_to_end_the_round_that_is_open(stage, hand):
    head = Commit(version=4, hash="h4", parent="h3", epoch=1, total_rows=9)
    MemoryStore.put(stage.store, KEYS.head, head.encode())
    hand.begin_on()
    hand.grid.value = DIRTY
    eventually(lambda: hand.notice() is not None)
    asked = hand.asks_to_close()
    assert asked is not None
    assert (asked.epoch, asked.round, asked.reason) == (1, 5, "drain")


def test_a_site_without_a_seat_has_nobody_end_a_round(stage, hand):
    head = Commit(version=4, hash="h4", parent="h3", epoch=1, total_rows=9)
    MemoryStore.put(stage.store, KEYS.head, head.encode())
    hand.begin()
    eventually(lambda: stage.provisioner.starts == 1)
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "off")
    assert hand.asks_to_close() is None


def test_while_the_store_is_away_the_agent_polls_on_and_asks_until_the_store_has_it(stage, hand):
    hand.begin_on()
    stage.store.down = True
    hand.grid.value = DIRTY
    eventually(lambda: stage.at == "draining")
    eventually(lambda: stage.events("trouble"))
    hand.polls_on()
    assert hand.notice() is None
    stage.store.down = False
    eventually(lambda: hand.notice() is not None)
    eventually(lambda: stage.events("trouble_over"))


def test_what_an_agent_shows_is_gone_when_it_has_ended(stage, hand):
    running = hand.begin_on()
    eventually(lambda: hand.shows(lambda state: state.stage == "on" and state.g_per_kwh == GREEN))
    stage.agent.interrupt()
    eventually(lambda: hand.notice() is not None)
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == INTERRUPTED
    assert hand.shown() is None
