"""Makes up a whole run as its processes would have written it: a day of three sites with a death."""

import json
import math
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from reporting import ODD, OLD_SUMMARY, Reported, crash
from writing import SetClock, site_started

from curtail_dist.cli.main import main
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog

HOUR = 3600.0
START = "2026-03-21T17:00:00+00:00"
WINDOWS = {
    "california": [(0.1, 2.1), (2.35, 6.4)],
    "texas": [(10.1, 10.2), (10.35, 16.4), (16.5, 17.1)],
    "south-australia": [(4.7, 15.2)],
}
STEPS, STEP_S, SYNC_S, JOIN_S, TOKENS, ROWS_A_STEP = 40, 15.0, 20.0, 240.0, 8192, 4


def outlook(windows: list[tuple[float, float]], *, until: float = 18.0) -> list[tuple[float, float]]:
    """A smooth made-up day in 5-minute steps: below the threshold exactly inside the windows (hours)."""
    points = []
    for step in range(int(until * 12)):
        hour = step / 12
        inside = [min(hour - a, b - hour) for a, b in windows if a - 1e-9 <= hour < b - 1e-9]
        near = min(max(a - hour, hour - b) for a, b in windows)
        wave = 25 * math.sin(hour * 3.1) + 12 * math.sin(hour * 11)
        value = 45 - 20 * min(1, inside[0]) + wave / 4 if inside else 150 + 260 * min(1, near / 2) + wave
        points.append((hour * HOUR, round(max(0.0, value), 1)))
    return [*points, (until * HOUR, points[-1][1])]


@dataclass
class Site:
    name: str
    directory: Path
    clock: SetClock
    agent: EventLog = field(init=False)
    ranks: EventLog = field(init=False)
    starts: int = 0

    def __post_init__(self) -> None:
        self.agent = EventLog(self.directory, site=self.name, process="agent.1", clock=self.clock)

    def start(self) -> None:
        self.starts += 1
        self.ranks = EventLog(
            self.directory, site=self.name, process=f"rank0.{self.starts}", clock=self.clock
        )

    def say(self, t: float, event: ev.Event, *, by: str = "ranks", epoch: int = 0, round: int = 0) -> None:
        self.clock.t = t
        log = self.agent if by == "agent" else self.ranks
        log.place(epoch=epoch, round=round)
        log.emit(event)

    def phase(self, t: float, phase: str, *, by: str = "ranks") -> None:
        self.say(t, ev.Phase(phase=phase), by=by)


@dataclass
class Day:
    """Writes the day. `kill` is the round in which south-australia's ranks die, 0 for none."""

    directory: Path
    hours: float = 18.0
    kill: int = 34
    rows_total: int = 15_200
    windows: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: WINDOWS)
    clock: SetClock = field(default_factory=SetClock)
    sites: dict[str, Site] = field(default_factory=dict)
    t: float = 0.0
    epoch: int = 0
    version: int = 0
    rows: int = 0
    members: list[str] = field(default_factory=list)
    leaving: dict[str, float] = field(default_factory=dict)
    joining: dict[str, float] = field(default_factory=dict)

    def write(self) -> Path:
        started = ev.RunStarted(run="day", seed=1, start=START, rows=self.rows_total, virtual=True)
        for name in self.windows:
            site = self.sites[name] = Site(name, self.directory, self.clock)
            site.say(0.0, site_started(outlook=outlook(self.windows[name]), deadline_s=18 * HOUR), by="agent")
            if name == "california":
                site.say(0.0, started, by="agent")
            site.phase(0.0, "off", by="agent")
        while self.rows < self.rows_total and self.t < self.hours * HOUR:
            self.turn()
        self.finish()
        for site in self.sites.values():
            site.agent.close()
        return self.directory

    def wanted(self, name: str) -> bool:
        return any(a * HOUR <= self.t < b * HOUR + 600 for a, b in self.windows[name])

    def turn(self) -> None:
        for name, site in self.sites.items():
            if self.wanted(name) and name not in self.members and name not in self.joining:
                site.phase(self.t, "join", by="agent")
                self.joining[name] = self.t + JOIN_S
        ready = [name for name, at in self.joining.items() if at <= self.t]
        for name in ready:
            del self.joining[name]
            self.join(name)
        if not self.members:
            self.t += 60
            return
        self.round()
        for name in [name for name in self.members if not self.wanted(name)]:
            self.leave(name)

    def join(self, name: str) -> None:
        site = self.sites[name]
        site.start()
        how = "founded" if not self.version else "pulled" if self.members else "resumed"
        self.members.append(name)
        site.say(self.t, ev.Joined(version=self.version, how=how, wall_s=3.0))
        self.form(how if how == "founded" else "joined")

    def form(self, reason: str) -> None:
        self.epoch += 1
        for name in self.members:
            site = self.sites[name]
            site.say(self.t, ev.EpochFormed(members=list(self.members), reason=reason), epoch=self.epoch)

    def leave(self, name: str) -> None:
        self.members.remove(name)
        self.sites[name].say(self.t, ev.Drained(version=self.version), epoch=self.epoch)
        self.sites[name].ranks.close()
        self.sites[name].phase(self.t, "off", by="agent")
        if self.members:
            self.form("left")

    def loss(self, site: str) -> float:
        wiggle = 0.05 * math.sin(self.t / 700 + len(site)) + 0.03 * math.sin(self.t / 97)
        return 3.0 + 5.0 * math.exp(-self.rows / 1800) + wiggle

    def round(self) -> None:
        count = self.version + 1
        dies = "south-australia" if self.kill and count == self.kill and len(self.members) > 1 else None
        work, begun = [], self.t
        for name in self.members:
            work.append(self.train(name, begun, count, dies=name == dies))
        if dies:
            self.kill = 0
            self.death(dies, begun, count)
            work = [entry for entry in work if entry["site"] != dies]
        self.t = begun + STEPS * STEP_S + SYNC_S * (len(self.members) > 1)
        self.commit(count, work)

    def train(self, name: str, begun: float, count: int, *, dies: bool) -> dict:
        site, steps = self.sites[name], STEPS // 2 if dies else STEPS
        first = self.rows if not dies else self.rows_total - 200
        last = min(self.rows_total, first + steps * ROWS_A_STEP)
        place = {"epoch": self.epoch, "round": count}
        site.say(begun, ev.RoundStarted(steps=STEPS, rows=[[first, last]]), **place)
        site.phase(begun, "train")
        for step in range(2, steps + 1, 2):
            at = begun + step * STEP_S
            self.t = at
            site.say(
                at,
                ev.Step(steps=2, tokens=2 * TOKENS, rows=step * ROWS_A_STEP, loss=self.loss(name)),
                **place,
            )
        if not dies:
            self.rows = last
        done = (last - first) // ROWS_A_STEP
        return {"site": name, "tokens": done * TOKENS, "steps": done, "rows": [[first, last]]}

    def death(self, name: str, begun: float, count: int) -> None:
        site, at = self.sites[name], begun + STEPS // 2 * STEP_S
        site.say(at, ev.RanksDied(reason="SIGKILL"), by="agent")
        site.phase(at, "off", by="agent")
        self.members.remove(name)
        site.ranks.close()
        self.epoch += 1
        for other in self.members:
            formed = ev.EpochFormed(members=list(self.members), reason="lost")
            self.sites[other].say(at, formed, epoch=self.epoch)

    def commit(self, count: int, work: list[dict]) -> None:
        self.version = count
        for name in self.members:
            site = self.sites[name]
            if len(self.members) > 1:
                site.phase(self.t - SYNC_S, "sync")
            committed = ev.Committed(
                version=count,
                hash=f"{count:08x}",
                parent=f"{count - 1:08x}",
                tokens=self.rows * TOKENS // ROWS_A_STEP,
                rows=self.rows,
                work=work,
                joiners=[],
                loss=self.loss(name),
                bytes_sent=1000,
                stall_s=0.001,
            )
            site.say(self.t, committed, epoch=self.epoch, round=count)
            site.phase(self.t, "train")
        if count % 10 == 0 and self.members:
            bpb = ev.Evaluated(version=count, val_bpb=self.loss("") / 2.2)
            self.sites[self.members[0]].say(self.t, bpb, epoch=self.epoch, round=count)

    def finish(self) -> None:
        for name in self.members:
            site = self.sites[name]
            if self.rows >= self.rows_total:
                tokens = self.rows * TOKENS // ROWS_A_STEP
                done = ev.RunFinished(version=self.version, hash=f"{self.version:08x}", tokens=tokens)
                site.say(self.t, done, epoch=self.epoch)
            site.ranks.close()
            site.phase(self.t, "off", by="agent")
        for name, site in self.sites.items():
            for t, value in outlook(self.windows[name]):
                if t <= self.t:
                    site.say(t, ev.ReadingSeen(g_per_kwh=value, measured_t=t, source="trace"), by="agent")


@pytest.fixture(scope="session")
def written_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Day(tmp_path_factory.mktemp("written") / "day").write()


TWO = {name: WINDOWS[name] for name in ("california", "south-australia")}


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    root = tmp_path_factory.mktemp("reported")
    run = Day(root / "run", windows=TWO, rows_total=8000).write()
    crashed = crash(Day(root / "crashed", windows=TWO, kill=0).write(), after_h=6.2)
    (root / "left").mkdir()
    (root / "left" / "summary.json").write_text(json.dumps(OLD_SUMMARY))
    others = [f"--compare={name}={place}" for name, place in ((ODD, crashed), ("day", root / "left"))]
    with redirect_stdout(StringIO()) as said:
        assert main(["report", str(run), "--print", *others]) == 0
    return Reported(run, crashed, said.getvalue())


@pytest.fixture
def day(written_day: Path, tmp_path: Path) -> Path:
    """A run directory with the whole day in it."""
    return Path(shutil.copytree(written_day, tmp_path / "day"))


@pytest.fixture
def write_day(tmp_path: Path) -> Callable[..., Path]:
    """Writes a day with other settings, each into its own directory."""

    def write(name: str, **settings: object) -> Path:
        return Day(tmp_path / name, **settings).write()  # type: ignore[arg-type]

    return write
