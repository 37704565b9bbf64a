"""A run of one site, as small as it can be: its agent, a virtual clock, a store in memory, played ranks."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hand import Hand, eventually

from curtail_dist.clock import Clock, VirtualClock
from curtail_dist.clock.service import ClockService
from curtail_dist.config import RunConfig
from curtail_dist.coordination import MemoryStore
from curtail_dist.coordination.store import Entry, Lease, Listing, TxnResult
from curtail_dist.energy.meters.spans import Metering
from curtail_dist.energy.policy import Policy, build_policy
from curtail_dist.energy.signals import SeriesSignal, Signal
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.agent.controller import Agent, Parts
from curtail_dist.membership.agent.leaving import Limits
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.telemetry.record import EventLog, Record, read_events
from curtail_dist.testing.provisioner import ScriptedProvisioner

KEYS = Keys("day")
STEP_S = 10.0
LAST = Commit(version=1, hash="h1", parent="h0", epoch=1, total_rows=1, done=((0, 1),))


class FlakyStore(MemoryStore):
    """A store that can be made not to answer."""

    down = False

    def get(self, key: str) -> Entry | None:
        self._check()
        return super().get(key)

    def put(self, key: str, value: bytes, *, lease=None) -> int:
        self._check()
        return super().put(key, value, lease=lease)

    def delete(self, key: str) -> bool:
        self._check()
        return super().delete(key)

    def transact(self, **given: Any) -> TxnResult:
        self._check()
        return super().transact(**given)

    def list(self, prefix: str) -> Listing:
        self._check()
        return super().list(prefix)

    def grant(self, ttl: float) -> Lease:
        self._check()
        return super().grant(ttl)

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("made not to answer")


@dataclass
class Stage:
    """Everything around one agent."""

    config: RunConfig
    directory: Path
    service: ClockService
    pool: ThreadPoolExecutor
    store: FlakyStore = field(default_factory=FlakyStore)
    steps: int = 10**9
    """Inner steps until the run is complete."""
    arrivals: list[float] = field(default_factory=list)
    departures: list[float] = field(default_factory=list)
    limits: Limits = field(default_factory=lambda: Limits(settle_s=0.1))
    policy: Policy | None = None
    """In place of the run file's."""
    metering: Metering | None = None
    average: Signal | None = None

    def __post_init__(self) -> None:
        self.provisioner = ScriptedProvisioner(lambda provisioner: self.pool.submit(self.play, provisioner))
        self.agent: Agent | None = None

    def play(self, provisioner: ScriptedProvisioner) -> None:
        """Be the ranks: come when due, do steps, leave when asked or when all steps are done."""
        clock = VirtualClock(self.service.endpoint, "rank:texas")
        clock.arrive()
        self.arrivals.append(clock.now())
        self.be_seated()
        while self.steps > 0 and not provisioner.stopping.is_set():
            if MemoryStore.get(self.store, KEYS.drain("texas")):
                break
            clock.spend(STEP_S)
            self.steps -= 1
        if self.steps == 0:
            MemoryStore.put(self.store, KEYS.head, LAST.encode())
        MemoryStore.delete(self.store, KEYS.member("texas"))
        self.departures.append(clock.now())
        clock.close()
        provisioner.finish(0)

    def be_registered(self) -> Member:
        """Show a living process of the site, as yet without a seat."""
        member = Member(
            site="texas", incarnation=str(self.provisioner.starts), host="h", group_port=1, state_port=2
        )
        MemoryStore.put(self.store, KEYS.member("texas"), Presence(member=member).encode())
        return member

    def be_seated(self) -> None:
        """Show a living process of the site, a member of the run's epoch."""
        member = self.be_registered()
        epoch = Epoch(number=self.provisioner.starts, members=(member,), reason="joined")
        MemoryStore.put(self.store, KEYS.epoch, epoch.encode())

    def follow(self, points: list[tuple[float, float]], clock: Clock | None = None) -> int:
        """Run the agent on a trace until it ends."""
        clock = clock or VirtualClock(self.service.endpoint, "agent:texas", "poll")
        series = StepFunction.from_points(points)
        return self.attend(SeriesSignal(series, clock=clock, source="trace", synthetic=True), clock)

    def attend(self, signal: Signal, clock: Clock) -> int:
        """Run the agent on a signal until it ends."""
        with EventLog(self.directory, site="texas", process="agent.1", clock=clock) as events:
            self.agent = Agent(
                self.config,
                "texas",
                Parts(
                    clock=clock,
                    signal=signal,
                    policy=self.policy or build_policy(self.config.policy),
                    store=self.store,
                    provisioner=self.provisioner,
                    events=events,
                    limits=self.limits,
                    metering=self.metering,
                    average=self.average,
                ),
            )
            try:
                return self.agent.run()
            finally:
                clock.close()

    def begin(self, points: list[tuple[float, float]]) -> "Future[int]":
        """Run the agent in a thread."""
        return self.pool.submit(self.follow, points)

    def events(self, *names: str) -> list[Record]:
        if not any((self.directory / "events").glob("*")):
            return []
        return [record for record in read_events(self.directory) if not names or record.event in names]

    def phases(self) -> list[tuple[float, str]]:
        return [(record.t, record["phase"]) for record in self.events("phase")]

    @property
    def at(self) -> str:
        """The stage that the agent has the site in."""
        return "" if self.agent is None else self.agent._ranks.standing.stage.value

    def finish_run(self) -> None:
        self.store.put(KEYS.head, LAST.encode())


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """Make a run file's value; keywords are whole sections."""

    def make(**sections: Any) -> RunConfig:
        return RunConfig.from_mapping(
            {
                "run": {"name": "day", "directory": str(tmp_path), "deadline_h": 1.0},
                "data": {"manifest": "none.json"},
                "sites": {
                    "texas": {
                        "signal": {"kind": "constant", "value": 1.0},
                        "power": {"train_w": 300.0, "idle_w": 50.0},
                    }
                },
                **sections,
            }
        )

    return make


@pytest.fixture
def config(make_config: Callable[..., RunConfig]) -> RunConfig:
    return make_config()


@pytest.fixture
def stage(make_config: Callable[..., RunConfig], tmp_path: Path) -> Iterator[Stage]:
    with ClockService() as service, ThreadPoolExecutor(8) as pool:
        config = make_config(
            clock={"kind": "virtual", "endpoint": service.endpoint, "join_s": 120.0, "step_s": STEP_S},
            policy={"poll_s": 60.0, "leave_delay_s": 300.0},
        )
        stage = Stage(config, tmp_path, service, pool)
        try:
            yield stage
        finally:
            service.stop()
            stage.provisioner.close()


@pytest.fixture
def real(make_config: Callable[..., RunConfig], stage: Stage, tmp_path: Path) -> Stage:
    """The same on the real clock, with ranks that only leave when the store asks them to."""

    def play(provisioner: ScriptedProvisioner) -> None:
        def leave() -> None:
            eventually(
                lambda: (
                    MemoryStore.get(stage.store, KEYS.drain("texas")) is not None
                    or provisioner.stopping.is_set()
                )
            )
            provisioner.finish(0)

        stage.be_seated()
        stage.pool.submit(leave)

    stage.config = make_config(policy={"poll_s": 3600.0})
    stage.provisioner = ScriptedProvisioner(play)
    return stage


@pytest.fixture
def hand(stage, make_config) -> Iterator[Hand]:
    stage.config = make_config(policy={"poll_s": 0.02, "leave_delay_s": 0.0, "max_age_s": 0.1})
    made = Hand(stage)
    yield made
    stage.store.down = False
    stage.finish_run()
    stage.provisioner.kill()
