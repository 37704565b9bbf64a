"""A site's agent with a virtual clock, a store in memory and ranks that threads play."""

import os
import signal
import threading
import time
from itertools import pairwise

import pytest
from hand import WAIT_S, eventually

from curtail_dist.clock import SystemClock, VirtualClock
from curtail_dist.coordination import MemoryStore
from curtail_dist.errors import CoordinationError, StoreUnavailable, Superseded
from curtail_dist.membership.agent.controller import COMPLETE, INTERRUPTED
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.notice import Notice
from curtail_dist.testing.provisioner import KILLED, STOPPED, ScriptedProvisioner

KEYS = Keys("day")
STEP_S = 10.0
GREEN = [(0.0, 50.0), (7200.0, 50.0)]


def test_a_site_follows_its_trace_until_the_run_is_complete(stage):
    stage.steps = 300
    dark = [(0.0, 300.0), (600.0, 50.0), (1800.0, 300.0), (3600.0, 50.0), (36000.0, 50.0)]
    assert stage.follow(dark) == COMPLETE
    # On at 600, 120 s to join, off at 1800 + 300 s of delay; then 162 of 300 steps are left.
    assert stage.arrivals == [720.0, 3720.0]
    assert stage.departures[0] == pytest.approx(2100.0, abs=STEP_S)
    assert stage.departures[1] == stage.arrivals[1] + 3000.0 - (stage.departures[0] - stage.arrivals[0])
    assert [phase for _, phase in stage.phases()] == ["off", "join", "off", "join", "off"]
    assert [t for t, _ in stage.phases()][:3] == [0.0, 600.0, stage.departures[0]]
    assert [record["action"] for record in stage.events("decided")] == [
        *("keep", "start", "keep", "drain", "keep", "start", "keep")
    ]
    assert [record["code"] for record in stage.events("ranks_exited")] == [0, 0]
    assert not stage.events("ranks_died")
    assert stage.store.get(KEYS.drain("texas")) is None


def test_time_stops_where_the_ranks_leave_until_the_agent_has_seen_it(stage):
    other = VirtualClock(stage.service.endpoint, "agent:elsewhere", "poll")
    stopping = threading.Event()

    def poll_elsewhere() -> None:
        while not stopping.is_set():
            other.sleep(1.0)
        other.close()

    stage.pool.submit(poll_elsewhere)
    running = stage.begin([(0.0, 50.0), (600.0, 300.0), (1e9, 50.0)])
    eventually(lambda: len(stage.departures) == 1 and len(stage.phases()) == 3)
    assert stage.phases()[-1] == (stage.departures[0], "off")
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE
    stopping.set()


def test_the_start_of_the_record_says_what_the_energy_is_reckoned_with(stage):
    stage.finish_run()
    assert stage.follow(GREEN) == COMPLETE
    first = stage.events()[0]
    assert first.event == "site_started"
    assert (first["train_w"], first["idle_w"], first["join_w"], first["sync_w"]) == (300.0, 50.0, 50.0, 50.0)
    assert first["deadline_s"] == 3600.0
    assert first["outlook"] == [[0.0, 50.0], [7200.0, 50.0]]  # baselines may run longer
    assert first["synthetic"] is True
    assert stage.provisioner.starts == 0


def test_a_change_of_intensity_is_recorded_once(stage):
    stage.steps = 200
    stage.follow([(0.0, 50.0), (600.0, 60.0), (9000.0, 60.0)])
    assert [(record["g_per_kwh"], record["measured_t"]) for record in stage.events("reading")] == [
        (50.0, 0.0),
        (60.0, 600.0),
    ]


def test_without_a_reading_the_site_drains_and_stays_off(stage):
    running = stage.begin([(0.0, 50.0), (900.0, 50.0)])
    eventually(lambda: stage.service.now() > 3600.0)
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE
    lost = stage.events("signal_lost")
    assert [record.t for record in lost] == [900.0]
    assert stage.provisioner.starts == 1
    assert stage.phases()[2][1] == "off"


def test_a_rank_that_is_killed_is_recorded_and_joins_again(stage):
    stage.provisioner = ScriptedProvisioner()
    running = stage.begin(GREEN)
    eventually(lambda: stage.provisioner.starts == 1)
    rank = VirtualClock(stage.service.endpoint, "rank:texas")
    rank.arrive()
    assert rank.now() == 120.0
    rank.spend(125.0)
    line = rank._own
    assert line is not None
    stage.provisioner.lose_rank()
    line.cut()
    eventually(lambda: stage.service.now() == 300.0)
    stage.provisioner.restart_rank()
    again = VirtualClock(stage.service.endpoint, "rank:texas")
    again.arrive()
    assert again.now() == 365.0
    assert [record.t for record in stage.events("ranks_died")] == [300.0]
    assert stage.phases() == [(0.0, "off"), (0.0, "join"), (300.0, "join")]
    stage.finish_run()
    again.close()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    rank.close()


def test_ranks_that_end_before_they_come_do_not_stop_the_clock(stage):
    """Three failures in the first window, then off; the next window starts again."""

    def fail(provisioner: ScriptedProvisioner) -> None:
        stage.pool.submit(provisioner.finish, 1)

    stage.provisioner = ScriptedProvisioner(fail)
    running = stage.begin([(0.0, 50.0), (3600.0, 300.0), (7200.0, 50.0), (1e9, 50.0)])
    eventually(lambda: stage.provisioner.starts > 3)
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE
    starts = [record.t for record in stage.events("ranks_started")]
    assert starts[2] < 3600.0
    assert starts[3] == 7200.0
    assert "stays off until its next window" in stage.events("ranks_died")[2]["reason"]


def test_a_start_that_is_refused_is_recorded_and_tried_again(stage):
    stage.provisioner.refusals = ["no room"]
    stage.steps = 10
    assert stage.follow(GREEN) == COMPLETE
    assert [record["reason"] for record in stage.events("ranks_died")] == ["no room"]
    assert stage.arrivals == [180.0]


def test_ranks_that_end_although_the_run_is_not_complete_count_as_failed(stage):
    stage.provisioner = ScriptedProvisioner(lambda provisioner: provisioner.finish(0))
    running = stage.begin(GREEN)
    eventually(lambda: len(stage.events("ranks_died")) == 3)
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE


def test_a_store_that_never_answered_ends_the_agent(stage):
    stage.store.down = True
    with pytest.raises(StoreUnavailable):
        stage.follow(GREEN)


def test_a_site_that_has_an_agent_starts_no_ranks_for_a_second_one(stage):
    stage.limits = Limits(lapse_s=0.1)
    lease = stage.store.grant(60.0)
    MemoryStore.put(stage.store, KEYS.agent("texas"), b"another's", lease=lease)
    with pytest.raises(Superseded, match="site texas has another agent, which lives"):
        stage.follow([(0.0, 50.0), (8 * 3600.0, 60.0)])
    assert stage.provisioner.starts == 0
    assert MemoryStore.get(stage.store, KEYS.agent("texas")).value == b"another's"


def test_an_outage_of_the_store_is_sat_out(stage):
    stage.steps = 10**9
    running = stage.begin(GREEN)
    eventually(lambda: len(stage.arrivals) == 1)
    stage.store.down = True
    since = stage.service.now()
    eventually(lambda: stage.service.now() > since + 600.0)
    assert not running.done()
    stage.store.down = False
    stage.finish_run()
    stage.steps = 1
    assert running.result(WAIT_S) == COMPLETE


def test_no_ranks_start_while_an_old_request_to_leave_may_still_stand(stage):
    stage.store.put(KEYS.drain("texas"), Notice(reason="a test").encode())
    gate = VirtualClock(stage.service.endpoint, "gate", "poll")
    running = stage.begin([(0.0, 300.0), (600.0, 50.0), (1e9, 50.0)])
    eventually(lambda: len(stage.events("decided")) == 1)
    assert stage.store.get(KEYS.drain("texas")) is None
    stage.store.down = True
    gate.sleep(1230.0)
    assert stage.events("decided")[-1]["action"] == "start"
    assert stage.provisioner.starts == 0
    gate.close()
    stage.store.down = False
    eventually(lambda: stage.provisioner.starts == 1)
    stage.steps = 1
    assert running.result(WAIT_S) == COMPLETE


def test_ranks_that_do_not_leave_are_stopped_and_count_as_dead(stage):
    stage.provisioner = ScriptedProvisioner()
    stage.limits = Limits(drain_s=0.1)
    running = stage.begin([(0.0, 50.0), (60.0, 300.0), (1e9, 50.0)])
    eventually(lambda: stage.provisioner.starts == 1)
    rank = VirtualClock(stage.service.endpoint, "rank:texas")
    rank.arrive()
    stage.be_seated()
    rank.spend(1000.0)
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    assert stage.events("ranks_exited")[0]["code"] == STOPPED
    assert len(stage.events("ranks_died")) == 1
    assert stage.store.get(KEYS.drain("texas")) is None
    rank.close()
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE


def test_an_agent_without_its_clock_stops_its_ranks_and_fails(stage):
    stage.provisioner = ScriptedProvisioner()
    running = stage.begin(GREEN)
    eventually(lambda: stage.provisioner.starts == 1)
    stage.service.stop()
    with pytest.raises(CoordinationError, match="virtual clock"):
        running.result(WAIT_S)
    assert stage.provisioner.poll().code == KILLED


def test_the_order_of_a_record_is_the_order_of_time(stage):
    stage.steps = 50
    stage.follow(GREEN)
    assert all(before.t <= after.t for before, after in pairwise(stage.events()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_site_within_a_moment(real, number):
    def ring() -> None:
        eventually(lambda: real.at == "on")
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    real.pool.submit(ring)
    started = time.monotonic()
    assert real.follow(GREEN, SystemClock()) == INTERRUPTED
    assert time.monotonic() - started < 3.0
    assert [record["code"] for record in real.events("ranks_exited")] == [0]
    assert not real.events("ranks_died")
    assert real.phases()[-1][1] == "off"
    assert signal.getsignal(number) is before


def test_a_second_signal_kills_ranks_that_do_not_leave(real):
    real.provisioner = ScriptedProvisioner(lambda _: real.be_seated())
    real.provisioner.stubborn = True

    def ring() -> None:
        eventually(lambda: real.at == "on")
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: MemoryStore.get(real.store, KEYS.drain("texas")) is not None)
        os.kill(os.getpid(), signal.SIGTERM)

    real.pool.submit(ring)
    assert real.follow(GREEN, SystemClock()) == INTERRUPTED
    assert [record["code"] for record in real.events("ranks_exited")] == [KILLED]


def test_a_second_signal_kills_ranks_that_are_being_stopped(real):
    real.provisioner = ScriptedProvisioner(lambda _: real.be_seated())
    real.provisioner.stubborn = True
    real.limits = Limits(interrupted_s=0.1, stop_s=600.0)

    def ring() -> None:
        eventually(lambda: real.at == "on")
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(real.provisioner.stopping.is_set)
        os.kill(os.getpid(), signal.SIGTERM)

    real.pool.submit(ring)
    assert real.follow(GREEN, SystemClock()) == INTERRUPTED
    assert [record["code"] for record in real.events("ranks_exited")] == [KILLED]


def test_after_one_signal_ranks_have_only_so_long_to_leave(real):
    real.provisioner = ScriptedProvisioner(lambda _: real.be_seated())
    real.limits = Limits(interrupted_s=0.1)

    def ring() -> None:
        eventually(lambda: real.at == "on")
        os.kill(os.getpid(), signal.SIGTERM)

    real.pool.submit(ring)
    assert real.follow(GREEN, SystemClock()) == INTERRUPTED
    assert [record["code"] for record in real.events("ranks_exited")] == [STOPPED]


def test_a_signal_while_a_virtual_clock_stands_still_is_heard(stage):
    holder = VirtualClock(stage.service.endpoint, "rank:elsewhere")

    def ring() -> None:
        eventually(lambda: stage.agent is not None and stage.agent._interrupts.resting)
        # To this thread: the agent's goes on waiting, as where a signal comes right before a wait begins.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    stage.pool.submit(ring)
    started = time.monotonic()
    assert stage.follow([(0.0, 300.0), (1e9, 300.0)]) == INTERRUPTED
    assert time.monotonic() - started < 3.0
    holder.close()
