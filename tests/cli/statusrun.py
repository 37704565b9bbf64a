"""A run for `curtail status` to show: its file, its records in a store, its event files, its agents."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from curtail_dist.cli.status.facts import look
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.coordination.store import CoordinationStore, Entry
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog

START = datetime(2026, 3, 21, 17, tzinfo=UTC)
OUTLOOK = ((0.0, 50.0), (3600.0, 300.0), (5400.0, 60.0), (10_800.0, 60.0))


class SetClock(SystemClock):
    t = 0.0

    def now(self) -> float:
        return self.t


class SilentStore(MemoryStore):
    """A store that does not answer."""

    def get(self, key: str) -> Entry | None:
        raise StoreUnavailable("no etcd at 127.0.0.1:1\nanswers")


def run_file(
    directory: Path,
    *,
    endpoint: str = "127.0.0.1:1",
    sites: Sequence[str] = ("texas", "california"),
    **sections: Any,
) -> Path:
    site = {"signal": {"kind": "constant", "value": 50}, "power": {"train_w": 1000, "idle_w": 100}}
    tree = {
        "run": {"name": "day", "directory": str(directory / "run")},
        "coordination": {"endpoints": [endpoint], "timeout_s": 2},
        "sites": dict.fromkeys(sites, site),
        "data": {"manifest": "manifest.json"},
        **sections,
    }
    file = directory / "run.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def member(site: str) -> Member:
    return Member(site=site, incarnation="1", host="127.0.0.1", group_port=1, state_port=2)


def found(
    store: CoordinationStore,
    *,
    members: Sequence[str] = ("california", "texas"),
    alive: Sequence[str] = ("texas",),
    done: int = 40,
) -> None:
    keys = Keys("day")
    epoch = Epoch(number=3, members=tuple(member(site) for site in members), reason="joined")
    head = Commit(version=7, hash="aa", parent="bb", epoch=3, total_rows=100, done=((0, done),), tokens=5000)
    store.put(keys.epoch, epoch.encode())
    store.put(keys.head, head.encode())
    for site in alive:
        store.put(keys.member(site), Presence(member=member(site)).encode())


def agent(**fields: Any) -> AgentState:
    known = {"stage": "on", "since": 600.0, "reason": "50 g/kWh is below 100", "g_per_kwh": 50.0}
    return AgentState(**{**known, "measured_t": 600.0, "source": "wind.csv", "polled_t": 1800.0, **fields})


def tell(store: CoordinationStore, **agents: AgentState) -> None:
    for site, state in agents.items():
        store.put(Keys("day").agent(site.replace("_", "-")), state.encode())


def started(**fields: Any) -> ev.SiteStarted:
    known = {"train_w": 1000.0, "idle_w": 100.0, "join_w": 100.0, "sync_w": 100.0, "deadline_s": 7200.0}
    known |= {
        "threshold_g_per_kwh": 100.0,
        "leave_delay_s": 600.0,
        "outlook": list(OUTLOOK),
        "synthetic": True,
    }
    return ev.SiteStarted(**{**known, **fields})


def write(directory: Path, site: str, *events: tuple[float, ev.Event], process: str = "agent.1") -> None:
    """Write events at their run times, as if run time and real time passed alike."""
    clock = SetClock()
    with EventLog(directory / "run", site=site, process=process, clock=clock) as log:
        log.place(epoch=3, round=12)
        for t, event in events:
            clock.t = t
            log.emit(event)
    file = directory / "run" / "events" / f"{site}.{process}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [{**line, "wall": (START + timedelta(seconds=line["t"])).isoformat()} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def run_started() -> ev.RunStarted:
    return ev.RunStarted(run="day", seed=1, start=START.isoformat(), rows=100, virtual=True)


def commit(version: int, *, rows: int, by: str, stall_s: float = 1.0) -> ev.Committed:
    work = [{"site": by, "tokens": 10 * rows, "steps": 1, "rows": [[0, rows]], "open": []}]
    return ev.Committed(
        version=version,
        hash=f"{version}",
        tokens=10 * rows,
        rows=rows,
        work=work,
        joiners=[],
        loss=4.5,
        bytes_sent=100,
        stall_s=stall_s,
    )


def step(tokens: int = 128, loss: float | None = 4.5) -> ev.Step:
    return ev.Step(steps=1, tokens=tokens, rows=1, loss=loss)


def write_events(directory: Path) -> None:
    """Half an hour of one site that trains."""
    write(
        directory,
        "texas",
        (0.0, run_started()),
        (0.0, started()),
        (0.0, ev.ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace")),
        (0.0, ev.Phase(phase="train")),
        (1800.0, step()),
    )


def seen(directory: Path, store: CoordinationStore | None = None) -> dict[str, Any]:
    """Return what status finds for the run file in `directory`."""
    config = RunConfig.from_yaml(directory / "run.yaml")
    return look(config, store or MemoryStore(MemoryCluster()), LiveView(config.run.directory))
