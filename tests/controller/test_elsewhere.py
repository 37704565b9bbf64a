"""Ranks that start elsewhere, as their agent sees them: they wait, outlive it, linger, are taken back."""

import threading
from typing import NoReturn

import pytest
from hand import DIRTY, KEYS, WAIT_S, eventually

from curtail_dist.clock import VirtualClock
from curtail_dist.coordination import MemoryStore
from curtail_dist.errors import ProvisionError, StoreUnavailable
from curtail_dist.membership.agent.controller import COMPLETE, INTERRUPTED
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.membership.provision import RanksState
from curtail_dist.testing.provisioner import ScriptedProvisioner

GREEN = [(0.0, 50.0), (1e9, 50.0)]
FULL = "no free GPU slot: 1 wanted, 0 of 1 free"


def leave(hand) -> None:
    """Let the ranks leave the run, as the store tells it."""
    MemoryStore.delete(hand.stage.store, KEYS.member("texas"))


def finish(hand, running) -> int:
    hand.stage.finish_run()
    if not hand.stage.provisioner.lingers:
        hand.stage.provisioner.finish(0)
    return running.result(WAIT_S)


def test_ranks_that_wait_are_shown_with_the_reason_and_draw_nothing_until_they_begin(hand):
    hand.stage.provisioner.waits_for = FULL
    running = hand.begin()
    eventually(lambda: hand.shows(lambda state: state.waiting == FULL))
    assert hand.shown().stage == "joining"
    assert [phase for _, phase in hand.stage.phases()] == ["off", "join", "off"]
    hand.polls_on()
    assert hand.stage.provisioner.starts == 1
    hand.stage.provisioner.begin()
    eventually(lambda: hand.shows(lambda state: state.waiting == ""))
    assert [phase for _, phase in hand.stage.phases()] == ["off", "join", "off", "join"]
    hand.stage.be_seated()
    eventually(lambda: hand.stage.at == "on")
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


def test_how_long_ranks_have_waited_is_known_apart_from_how_long_they_take(hand):
    stage = hand.stage
    stage.provisioner.waits_for = FULL
    running = hand.begin()
    eventually(lambda: hand.shows(lambda state: state.waiting == FULL))
    began = hand.clock.now()
    eventually(lambda: hand.clock.now() > began + 0.2)
    hand.polls_on()
    stage.provisioner.begin()
    eventually(lambda: hand.shows(lambda state: not state.waiting))
    begun = hand.clock.now()
    stage.be_seated()
    eventually(lambda: stage.at == "on")
    assert 0.2 < stage.agent._ranks.waited_s <= begun
    assert finish(hand, running) == COMPLETE


def test_a_site_whose_window_closes_while_its_ranks_wait_takes_them_back(hand):
    hand.stage.provisioner.waits_for = FULL
    running = hand.begin()
    eventually(lambda: hand.shows(lambda state: state.waiting == FULL))
    hand.grid.value = DIRTY
    eventually(lambda: hand.stage.at == "off")
    eventually(lambda: hand.shows(lambda state: (state.stage, state.waiting) == ("off", "")))
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


def test_ranks_that_go_back_to_waiting_are_joining_again_and_have_not_died(hand):
    running = hand.begin_on()
    leave(hand)
    hand.stage.provisioner.requeue("PENDING: Resources")
    eventually(
        lambda: hand.shows(lambda state: (state.stage, state.waiting) == ("joining", "PENDING: Resources"))
    )
    hand.stage.provisioner.begin()
    hand.stage.be_seated()
    eventually(lambda: hand.stage.at == "on")
    assert not hand.stage.events("ranks_died")
    assert hand.stage.provisioner.starts == 1
    assert finish(hand, running) == COMPLETE


def test_ranks_that_an_agent_before_left_running_are_gone_on_with(hand):
    hand.stage.provisioner.start()
    hand.stage.be_seated()
    running = hand.begin()
    eventually(lambda: hand.stage.at == "on")
    hand.polls_on()
    assert hand.stage.provisioner.starts == 1
    assert hand.stages() == ["joining", "on"]
    assert [phase for _, phase in hand.stage.phases()] == ["off", "train"]
    assert finish(hand, running) == COMPLETE


def test_ranks_that_were_found_but_are_not_wanted_leave(hand):
    hand.stage.provisioner.start()
    hand.stage.be_seated()
    hand.grid.value = DIRTY
    running = hand.begin()
    eventually(lambda: hand.notice() is not None)
    leave(hand)
    hand.stage.provisioner.finish(0)
    eventually(lambda: hand.stage.at == "off")
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


@pytest.mark.parametrize(("code", "deaths"), [(0, 0), (1, 1)])
def test_ranks_that_were_on_their_way_out_when_they_were_found_have_not_failed(hand, code, deaths):
    hand.stage.provisioner.start()
    running = hand.begin()
    eventually(lambda: hand.stage.at == "joining")
    hand.stage.provisioner.finish(code)
    eventually(lambda: hand.stage.provisioner.starts == 2)
    assert len(hand.stage.events("ranks_died")) == deaths
    assert finish(hand, running) == COMPLETE


def test_ranks_found_when_the_run_is_complete_end_with_their_agent(hand):
    hand.stage.provisioner.start()
    hand.stage.finish_run()
    running = hand.begin()
    eventually(lambda: hand.stages() == ["joining", "draining"])
    hand.stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE


def test_an_agent_that_cannot_begin_leaves_what_runs_alone(hand):
    hand.stage.provisioner.start()
    hand.stage.store.down = True
    with pytest.raises(StoreUnavailable):
        hand.begin().result(WAIT_S)
    assert hand.stage.provisioner.poll().running


def test_nothing_is_started_as_long_as_it_is_not_known_what_runs(hand):
    class Silent(ScriptedProvisioner):
        silent = True

        def poll(self) -> RanksState:
            if self.silent:
                raise ProvisionError("squeue does not answer")
            return super().poll()

    hand.stage.provisioner = Silent()
    running = hand.begin()
    eventually(
        lambda: hand.shows(lambda state: "squeue does not answer" in state.troubles.get("provisioner", ""))
    )
    hand.polls_on()
    assert hand.stage.provisioner.starts == 0
    assert len(hand.stage.events("trouble")) == 1
    hand.stage.provisioner.silent = False
    eventually(lambda: hand.stage.provisioner.starts == 1)
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


def test_a_machine_that_lingers_is_stopped_once_its_ranks_have_left(hand):
    hand.stage.provisioner.lingers = True
    running = hand.begin_on()
    hand.grid.value = DIRTY
    eventually(lambda: hand.notice() is not None)
    hand.polls_on()
    assert hand.stage.at == "draining"
    assert not hand.stage.provisioner.stopping.is_set()
    leave(hand)
    eventually(lambda: hand.stage.at == "off")
    assert hand.stage.provisioner.stopping.is_set()
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


def test_a_machine_that_lingers_is_stopped_when_the_run_is_complete(hand):
    hand.stage.provisioner.lingers = True
    running = hand.begin_on()
    hand.stage.finish_run()
    leave(hand)
    assert running.result(WAIT_S) == COMPLETE
    assert hand.stage.provisioner.stopping.is_set()
    assert not hand.stage.events("ranks_died")


def test_ranks_whose_machine_is_taken_back_have_not_failed_and_start_again(hand):
    running = hand.begin_on()
    leave(hand)
    hand.stage.provisioner.reclaim("time limit")
    eventually(lambda: hand.stage.provisioner.starts == 2)
    said = [record["reason"] for record in hand.stage.events("stage")]
    assert "its machine was taken back: time limit" in said
    assert not hand.stage.events("ranks_died")
    assert finish(hand, running) == COMPLETE


def test_ranks_that_could_not_be_started_after_all_say_why(hand):
    class Late(ScriptedProvisioner):
        def poll(self) -> RanksState:
            if not self.starts:
                return super().poll()
            return RanksState(running=False, code=5, failure="no credit")

    hand.stage.provisioner = Late()
    running = hand.begin()
    eventually(lambda: bool(hand.stage.events("ranks_died")))
    assert hand.stage.events("ranks_died")[0]["reason"].startswith("no credit")
    assert finish(hand, running) == COMPLETE


@pytest.mark.parametrize("behind", [False, True])
def test_a_virtual_clock_stands_still_for_ranks_that_wait_unless_it_is_for_other_sites(stage, behind):
    stage.provisioner = ScriptedProvisioner()
    stage.provisioner.waits_for, stage.provisioner.behind = FULL, behind
    running = stage.begin(GREEN)
    eventually(lambda: stage.provisioner.starts == 1)
    if behind:
        eventually(lambda: stage.service.now() > 3000.0)
    else:
        eventually(lambda: stage.service.now() == 120.0)
    stage.provisioner.begin()
    eventually(lambda: stage.agent._ranks.waiting == "" or not behind)
    begun = stage.service.now()
    rank = VirtualClock(stage.service.endpoint, "rank:texas")
    rank.arrive()
    assert rank.now() <= begun + 240.0
    stage.be_seated()
    rank.spend(130.0)
    stage.finish_run()
    rank.close()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    assert not stage.events("ranks_died")


def test_a_virtual_clock_expects_ranks_that_are_found(stage):
    stage.provisioner = ScriptedProvisioner()
    stage.provisioner.start()
    running = stage.begin(GREEN)
    rank = VirtualClock(stage.service.endpoint, "rank:texas")
    eventually(lambda: stage.at == "joining")
    rank.arrive()
    assert rank.now() <= 120.0
    stage.be_seated()
    eventually(lambda: stage.agent._liaison.seated)
    rank.spend(130.0)
    eventually(lambda: stage.at == "on")
    stage.finish_run()
    rank.close()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    assert stage.provisioner.starts == 1


def test_an_agent_that_is_told_to_end_does_not_wait_for_a_cluster_that_never_answers(hand):
    stage, provisioner = hand.stage, hand.stage.provisioner
    stage.limits = Limits(interrupted_s=0.1, stop_s=0.1, kill_s=0.1)
    running, killed = hand.begin_on(), threading.Event()

    def silent() -> NoReturn:
        raise ProvisionError("the cluster does not answer")

    provisioner.poll, provisioner.kill = silent, killed.set
    stage.agent.interrupt()
    assert running.result(WAIT_S) == INTERRUPTED
    assert hand.notice() is not None
    assert provisioner.stopping.is_set()
    assert killed.is_set()


@pytest.mark.parametrize("times", [1, 2])
def test_an_agent_that_is_told_to_end_fails_where_its_ranks_outlive_everything(hand, times):
    stage, provisioner = hand.stage, hand.stage.provisioner
    stage.limits = Limits(interrupted_s=0.1 if times == 1 else 600.0, stop_s=0.1, kill_s=0.1)
    provisioner.stubborn = True
    running = hand.begin_on()
    kill, close = provisioner.kill, provisioner.close

    def close_in_vain() -> NoReturn:
        provisioner.kill, provisioner.close = kill, close
        raise ProvisionError("ranks may still run; see to it by hand")

    provisioner.kill, provisioner.close = lambda: None, close_in_vain
    for _ in range(times):
        stage.agent.interrupt()
    with pytest.raises(ProvisionError, match="see to it by hand"):
        running.result(WAIT_S)
