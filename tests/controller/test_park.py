"""Ranks that leave the run and stay in memory, on the real clock, as their agent sees them."""

import threading
import time
from collections.abc import Iterator

import pytest
from hand import DIRTY, GREEN, KEYS, WAIT_S, Grid, eventually

from curtail_dist.clock import SystemClock
from curtail_dist.coordination import MemoryStore
from curtail_dist.membership.agent.controller import COMPLETE, INTERRUPTED
from curtail_dist.membership.records import Epoch, Member, Presence
from curtail_dist.telemetry.events import Phase
from curtail_dist.telemetry.record import EventLog
from curtail_dist.testing.provisioner import KILLED, STOPPED, ScriptedProvisioner


class ParkingSite:
    """An agent, and ranks that do as `provisioner.park_s` says: asked to drain, they wait in memory."""

    def __init__(self, stage) -> None:
        self.stage = stage
        self.clock = SystemClock()
        self.grid = Grid(self.clock)
        self.joins = 0
        self.time_is_up = threading.Event()
        self.deaf = threading.Event()
        """While set, nobody comes back although the request to leave is gone."""

    def begin(self):
        return self.stage.pool.submit(self.stage.attend, self.grid, self.clock)

    def begin_and_park(self):
        running = self.begin()
        eventually(lambda: self.stage.at == "on")
        self.grid.value = DIRTY
        eventually(lambda: self.stage.agent._ranks.standing.parked)
        return running

    def play(self, provisioner: ScriptedProvisioner) -> None:
        name = f"rank0.{self.stage.provisioner.starts}"
        with EventLog(self.stage.directory, site="texas", process=name, clock=self.clock) as events:
            while True:
                self.joins += 1
                self.show(parked=False)
                while not self.asked() and not provisioner.stopping.is_set():
                    time.sleep(0.002)
                if provisioner.stopping.is_set():
                    break
                events.emit(Phase(phase="parked"))
                self.show(parked=True)
                if not self.is_asked_back(provisioner):
                    break
        MemoryStore.delete(self.stage.store, KEYS.member("texas"))
        provisioner.finish(0)

    def is_asked_back(self, provisioner: ScriptedProvisioner) -> bool:
        while not provisioner.stopping.is_set() and not self.time_is_up.is_set():
            if not self.asked() and not self.deaf.is_set():
                return True
            time.sleep(0.002)
        return False

    def asked(self) -> bool:
        return MemoryStore.get(self.stage.store, KEYS.drain("texas")) is not None

    def show(self, *, parked: bool) -> None:
        incarnation = str(self.stage.provisioner.starts)
        member = Member(site="texas", incarnation=incarnation, host="h", group_port=1, state_port=2)
        presence = Presence(member=member, parked=parked)
        MemoryStore.put(self.stage.store, KEYS.member("texas"), presence.encode())
        members = () if parked else (member,)
        epoch = Epoch(number=self.joins, members=members, reason="left" if parked else "joined")
        MemoryStore.put(self.stage.store, KEYS.epoch, epoch.encode())

    def phases(self) -> list[str]:
        return [phase for _, phase in self.stage.phases()]


@pytest.fixture
def site(stage, make_config) -> Iterator[ParkingSite]:
    stage.config = make_config(
        policy={"poll_s": 0.02, "leave_delay_s": 0.0},
        sites={
            "texas": {
                "signal": {"kind": "constant", "value": 1.0},
                "power": {"train_w": 300.0, "idle_w": 50.0},
                "provisioner": {"park_s": 600.0},
            }
        },
    )
    made = ParkingSite(stage)
    stage.provisioner = ScriptedProvisioner(lambda provisioner: stage.pool.submit(made.play, provisioner))
    yield made
    stage.store.down = False
    stage.finish_run()
    stage.provisioner.close()


def test_parked_ranks_are_back_at_the_next_window_without_a_start(stage, site):
    running = site.begin_and_park()
    assert stage.provisioner.poll().running
    site.grid.value = GREEN
    eventually(lambda: site.joins == 2)
    stage.finish_run()
    stage.provisioner.finish(0)
    assert running.result(WAIT_S) == COMPLETE
    assert stage.provisioner.starts == 1
    assert site.phases() == ["off", "join", "parked", "join", "off"]
    assert [record["code"] for record in stage.events("ranks_exited")] == [0]
    assert not stage.events("ranks_died")


def test_ranks_can_park_again_and_again(stage, site):
    running = site.begin_and_park()
    for joins in (2, 3):
        site.grid.value = GREEN
        eventually(lambda joins=joins: stage.at == "on" and site.joins == joins)
        site.grid.value = DIRTY
        eventually(lambda: stage.agent._ranks.standing.parked)
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE
    assert site.phases() == ["off", *["join", "parked"] * 3, "off"]
    assert stage.provisioner.starts == 1


def test_ranks_whose_time_is_up_have_ended_in_order_and_the_next_window_starts_others(stage, site):
    running = site.begin_and_park()
    site.time_is_up.set()
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    assert stage.events("ranks_exited")[0]["code"] == 0
    assert site.phases() == ["off", "join", "parked", "off"]
    site.time_is_up.clear()
    site.grid.value = GREEN
    eventually(lambda: site.joins == 2)
    assert stage.provisioner.starts == 2
    assert not stage.events("ranks_died")
    stage.agent.interrupt()
    assert running.result(WAIT_S) == INTERRUPTED


@pytest.mark.parametrize(
    "die",
    [
        lambda provisioner: provisioner.finish(1),
        lambda provisioner: provisioner.lose_rank(),
        lambda provisioner: provisioner.restart_rank(),
    ],
    ids=["launcher ends", "rank is gone", "rank is restarted"],
)
def test_ranks_that_die_while_parked_are_recorded_and_no_failure_is_counted(stage, site, die):
    site.begin_and_park()
    die(stage.provisioner)
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    assert not stage.provisioner.poll().running
    assert [record["reason"] for record in stage.events("ranks_died")] == [
        "ranks died while they were parked"
    ]
    assert stage.events("ranks_exited")[0]["code"] in (1, KILLED)
    assert site.phases() == ["off", "join", "parked", "off"]
    assert stage.agent._ranks.standing.failures == 0
    assert not stage.events("trouble")


def test_ranks_whose_time_is_up_as_they_are_asked_back_have_not_failed(stage, site):
    site.begin_and_park()
    site.deaf.set()
    site.grid.value = GREEN
    eventually(lambda: site.phases()[-1] == "join")
    site.time_is_up.set()
    eventually(lambda: len(stage.events("ranks_exited")) == 1)
    site.time_is_up.clear()
    site.deaf.clear()
    eventually(lambda: stage.provisioner.starts == 2)
    assert not stage.events("ranks_died")
    assert site.phases()[3:6] == ["join", "off", "join"]


def test_ranks_that_are_back_and_then_end_have_failed(stage, site):
    site.begin_and_park()
    site.grid.value = GREEN
    eventually(lambda: stage.at == "on" and site.joins == 2)
    stage.provisioner.finish(0)
    eventually(lambda: len(stage.events("ranks_died")) == 1)


def test_without_an_answer_of_the_store_ranks_stay_parked_until_it_answers_again(stage, site):
    site.begin_and_park()
    stage.store.down = True
    site.grid.value = GREEN
    eventually(lambda: stage.events("decided")[-1]["action"] == "start")
    assert stage.agent._ranks.standing.parked
    assert site.phases()[-1] == "parked"
    stage.store.down = False
    eventually(lambda: site.joins == 2)
    assert stage.provisioner.starts == 1


def test_a_complete_run_ends_parked_ranks(stage, site):
    running = site.begin_and_park()
    stage.finish_run()
    assert running.result(WAIT_S) == COMPLETE
    assert not stage.provisioner.poll().running
    assert site.phases()[-1] == "off"
    assert not stage.events("ranks_died")


def test_an_agent_that_is_told_to_stop_ends_parked_ranks(stage, site):
    running = site.begin_and_park()
    stage.agent.interrupt()
    assert running.result(WAIT_S) == INTERRUPTED
    assert [record["code"] for record in stage.events("ranks_exited")] == [STOPPED]
    assert site.phases()[-1] == "off"
    assert not stage.events("ranks_died")


def test_an_agent_that_is_told_to_stop_ends_its_ranks_once_they_have_left_the_run(stage, site):
    running = site.begin()
    eventually(lambda: stage.at == "on")
    stage.agent.interrupt()
    assert running.result(WAIT_S) == INTERRUPTED
    assert site.phases() == ["off", "join", "parked", "off"]
    assert [record["code"] for record in stage.events("ranks_exited")] == [STOPPED]
    assert not stage.events("ranks_died")


def test_ranks_are_told_when_it_was_decided_to_start_them(stage, site):
    before = time.time()
    site.begin()
    eventually(lambda: site.joins == 1)
    assert before - 0.001 <= float(stage.provisioner.variables["CURTAIL_DECIDED_AT"]) <= time.time()
