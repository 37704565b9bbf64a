"""Carries out a schedule's faults, at a time or at an effect, and ends them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from curtail_dist.membership.effects import Effect
from curtail_dist.membership.records import Commit
from curtail_dist.membership.recovering import Recovered
from curtail_dist.sim.agent import Agent
from curtail_dist.sim.chain import Chain
from curtail_dist.sim.process import Fiber, Process
from curtail_dist.sim.setting import KEYS, OPERATOR, Fault
from curtail_dist.sim.world import World

_LOOK_S = 0.1
_START = datetime(2026, 1, 1, tzinfo=UTC)


class Faults:
    """Breaks things as the setting says. After `calm` nothing is broken any more."""

    def __init__(self, world: World) -> None:
        """Prepare; `begin` comes next."""
        self._world = world
        self._agents: Mapping[str, Agent] = {}
        self._armed: list[Fault] = []
        self._seen: dict[int, int] = {}
        self._rotten = -2
        self._strike: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill,
            "kill_all": self._kill_all,
            "hang": lambda fault: self._hang(fault, "all"),
            "hang_life": lambda fault: self._hang(fault, "life"),
            "supersede": self._supersede,
            "term": self._term,
            "drain": lambda fault: self._agents[fault.site].drain(fault.lasts),
            "drain_all": self._drain_all,
            "cut": self._cut,
            "cut_store": self._cut_store,
            "mute": lambda fault: world.store.mute.append(fault.site),
            "outage": self._outage,
            "forget": self._forget,
            "disk": self._disk,
            "rot": self._rot,
        }

    def begin(self, agents: Mapping[str, Agent]) -> None:
        """Let the faults come."""
        self._agents = agents
        kernel, setting = self._world.kernel, self._world.setting
        for fault in setting.faults:
            kernel.after(fault.at, self._arm if fault.effect else self.strike, fault)
        kernel.after(setting.calm_at, self.calm)

    def strike(self, fault: Fault) -> None:
        """Carry a fault out now."""
        if not self._world.calm:
            self._world.history.add("faults", "fault", fault)
            self._strike[fault.kind](fault)

    def trap(self, process: Process, fiber: Fiber, effect: Effect[object], phase: str) -> bool:
        """Strike what waits for this effect; return whether the process may not go on now."""
        if not self._armed:
            return False
        name = type(effect).__name__
        for fault in self._armed:
            if (fault.effect, fault.phase, fault.site) != (name, phase, process.site):
                continue
            number = self._seen[id(fault)] = self._seen.get(id(fault), 0) + 1
            if number >= fault.nth:
                self._armed.remove(fault)
                self.strike(fault)
                return (
                    not process.alive
                    or process.hung == "all"
                    or (process.hung == "life" and fiber is process.life)
                )
        return False

    def calm(self) -> None:
        """End all faults."""
        world = self._world
        world.calm = True
        world.history.add("faults", "fault", "calm: all faults are over")
        self._armed.clear()
        world.store.loss = world.store.slow = 0.0
        world.store.mute.clear()
        world.store.restart(world.setting.rules.ttl_s)
        for site in world.setting.sites:
            world.store.rejoin(site)
            for other in world.setting.sites:
                world.network.mend(site, other)
        for disk in world.disks.values():
            disk.failing = False
        for process in list(world.processes.values()):
            process.wake_up()
        for agent in self._agents.values():
            agent.ask_back()
            agent.start()

    def _arm(self, fault: Fault) -> None:
        if not self._world.calm:
            self._armed.append(fault)

    def _process(self, fault: Fault) -> Process | None:
        return self._agents[fault.site].process

    def _kill(self, fault: Fault) -> None:
        agent = self._agents[fault.site]
        if agent.process is not None:
            agent.restart_s = fault.lasts
            agent.process.kill()

    def _kill_all(self, fault: Fault) -> None:
        for agent in self._agents.values():
            agent.restart_s = fault.lasts * self._world.kernel.between(0.5, 1.5)
        for process in list(self._world.processes.values()):
            process.kill()

    def _hang(self, fault: Fault, what: str) -> None:
        process = self._process(fault)
        if process is not None:
            process.hang(what, fault.lasts)

    def _supersede(self, fault: Fault) -> None:
        """The process stops, and its agent, which takes it for dead, starts another."""
        process = self._process(fault)
        if process is not None:
            process.hang("all", fault.lasts)
            self._agents[fault.site].start(beside=True)

    def _term(self, fault: Fault) -> None:
        process = self._process(fault)
        if process is not None:
            self._agents[fault.site].restart_s = fault.lasts
            process.terminate()

    def _drain_all(self, fault: Fault) -> None:
        for agent in self._agents.values():
            agent.drain(fault.lasts * self._world.kernel.between(0.5, 1.5))

    def _cut(self, fault: Fault) -> None:
        self._world.network.cut(fault.site, fault.other)
        self._world.kernel.after(fault.lasts, self._world.network.mend, fault.site, fault.other)

    def _cut_store(self, fault: Fault) -> None:
        self._world.store.cut_off(fault.site)
        self._world.kernel.after(fault.lasts, self._world.store.rejoin, fault.site)

    def _outage(self, fault: Fault) -> None:
        self._world.store.stop()
        ttl_s = self._world.setting.rules.ttl_s
        self._world.kernel.after(fault.lasts, self._world.store.restart, ttl_s)

    def _forget(self, fault: Fault) -> None:
        """All data of the store is gone. Every process that lived through it ends; agents start others."""
        self._world.store.forget()
        for agent in self._agents.values():
            agent.restart_s = fault.lasts * self._world.kernel.between(0.3, 1.5)
        for process in list(self._world.processes.values()):
            process.kill()
        self._world.kernel.after(fault.lasts, self._recover)

    def _recover(self) -> None:
        """What `curtail recover` does, as soon as no process is there; without a snapshot the run is new."""
        store, setting = self._world.store, self._world.setting
        if self._world.processes or store.down_since is not None:
            self._world.kernel.after(_LOOK_S, self._recover)
            return
        found = self._world.disk(setting.sites[0]).newest()
        if found is None or store.contents.get(KEYS.head) is not None:
            return
        run = Recovered(
            head=found.commit,
            url=setting.url[setting.sites[0]],
            identity=setting.rules.identity,
            start=_START,
            known_epoch=max(seated.epoch.number for seated in Chain.of(self._world.history).epochs),
        )
        store.contents.transact(compare={}, puts=run.puts(KEYS))
        store.publish(OPERATOR)

    def _disk(self, fault: Fault) -> None:
        disk = self._world.disk(fault.site)
        disk.failing = True
        self._world.kernel.after(fault.lasts, setattr, disk, "failing", False)

    def _rot(self, fault: Fault) -> None:
        """Spoil head's snapshot, unless its parent's is spoiled already: one copy at a time."""
        entry = self._world.store.contents.get(KEYS.head)
        if entry is None:
            return
        head = Commit.decode(entry.value)
        if head.version > self._rotten + 1 and self._world.disk(fault.site).rot(head.version, head.hash):
            self._rotten = head.version
