import json
from pathlib import Path

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.cli.status import look, text
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd, MemoryCluster, MemoryStore
from curtail_dist.coordination.store import CoordinationStore, Entry
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog


class SetClock(SystemClock):
    t = 0.0

    def now(self) -> float:
        return self.t


def run_file(directory: Path, *, endpoint: str = "127.0.0.1:1") -> Path:
    site = {"signal": {"kind": "constant", "value": 50}, "power": {"train_w": 1000, "idle_w": 100}}
    tree = {
        "run": {"name": "day", "directory": str(directory / "run")},
        "coordination": {"endpoints": [endpoint], "timeout_s": 2},
        "sites": {"texas": site, "california": site},
        "data": {"manifest": "manifest.json"},
    }
    file = directory / "run.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def member(site: str) -> Member:
    return Member(site=site, incarnation="1", host="127.0.0.1", group_port=1, state_port=2)


def found(store: CoordinationStore, *, alive: tuple[str, ...] = ("texas",), done: int = 40) -> None:
    keys = Keys("day")
    epoch = Epoch(number=3, members=(member("california"), member("texas")), reason="joined")
    head = Commit(version=7, hash="aa", parent="bb", epoch=3, total_rows=100, done=((0, done),), tokens=5000)
    store.put(keys.epoch, epoch.encode())
    store.put(keys.head, head.encode())
    for site in alive:
        store.put(keys.member(site), Presence(member=member(site)).encode())


def write_events(directory: Path) -> None:
    clock = SetClock()
    with EventLog(directory / "run", site="texas", process="agent.1", clock=clock) as log:
        log.emit(ev.RunStarted(run="day", seed=1, start="2026-03-21T17:00:00+00:00", rows=100, virtual=True))
        log.emit(
            ev.SiteStarted(
                train_w=1000.0,
                idle_w=100.0,
                join_w=100.0,
                sync_w=100.0,
                threshold_g_per_kwh=100.0,
                leave_delay_s=600.0,
                deadline_s=7200.0,
                outlook=[(0.0, 50.0), (3600.0, 300.0), (5400.0, 60.0), (7200.0, 60.0)],
                synthetic=True,
            )
        )
        log.emit(ev.ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace"))
        log.emit(ev.Phase(phase="train"))
        clock.t = 1800.0
        log.emit(ev.Step(steps=1, tokens=128, rows=1, loss=4.5))


def test_a_run_that_nobody_founded_is_no_error(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    facts = look(config, MemoryStore(MemoryCluster()), LiveView(config.run.directory))
    assert not facts["founded"]
    assert facts["emissions_kg"] is None
    assert "nobody has founded this run yet" in text(facts)


def test_a_member_without_a_lease_is_not_active(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store, alive=("texas",))
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["active"] == ["texas"]
    assert facts["sites"]["california"] | {"member": True, "alive": False} == facts["sites"]["california"]
    assert (facts["epoch"], facts["version"], facts["tokens"]) == (3, 7, 5000)
    assert facts["rows"] == {"done": 40, "total": 100}


def test_phases_kilograms_and_the_next_window_come_from_the_events(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store)
    write_events(tmp_path)
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["sites"]["texas"]["phase"] == "train"
    assert facts["emissions_kg"] == pytest.approx(0.5 * 50.0 / 1000)
    assert facts["sites"]["texas"]["next_window_s"] == [1800.0, 3600.0]
    assert facts["utc"] == "2026-03-21T17:30:00+00:00"
    assert "open until +0:30 h" in text(facts)


def test_an_unreachable_store_is_one_line_and_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--config", str(run_file(tmp_path))]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "127.0.0.1:1" in error


class SilentStore(MemoryStore):
    """A store that does not answer."""

    def get(self, key: str) -> Entry | None:
        raise StoreUnavailable("no etcd at 127.0.0.1:1\nanswers")


def test_without_the_store_status_shows_what_the_events_say(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    write_events(tmp_path)
    facts = look(config, SilentStore(), LiveView(config.run.directory))
    assert facts["store"] == {"answers": False, "error": "no etcd at 127.0.0.1:1 answers"}
    assert (facts["active"], facts["sites"]["texas"]["member"], facts["sites"]["texas"]["alive"]) == (
        None,
    ) * 3
    assert (facts["founded"], facts["rows"]["total"], facts["finished"]) == (True, 100, False)
    assert facts["sites"]["texas"]["phase"] == "train"
    shown = text(facts)
    assert "THE STORE DOES NOT ANSWER, who is active is not known; the events say: epoch" in shown
    assert "tokens/s" in shown


def test_without_store_and_events_status_still_says_what_it_cannot_know(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    facts = look(config, SilentStore(), LiveView(config.run.directory))
    assert (facts["founded"], facts["version"], facts["rows"]["total"]) == (None, None, None)
    assert "the events say nothing of the run" in text(facts)


def test_an_unreachable_store_leaves_facts_on_one_side_and_the_error_on_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_events(tmp_path)
    assert main(["status", "--config", str(run_file(tmp_path)), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["store"]["answers"] is False
    assert said.err == f"curtail: {json.loads(said.out)['store']['error']}\n"


def test_a_finished_run_is_known_to_be_so_without_the_store(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    write_events(tmp_path)
    with EventLog(tmp_path / "run", site="texas", process="rank0.1", clock=SetClock()) as log:
        log.emit(ev.RunFinished(version=9, hash="aa", tokens=5))
    facts = look(config, SilentStore(), LiveView(config.run.directory))
    assert facts["finished"]
    assert text(facts).startswith("day: complete; THE STORE DOES NOT ANSWER")


def test_a_parked_site_is_no_member_and_is_shown_as_parked(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store)
    epoch = Epoch(number=4, members=(member("california"),), reason="left")
    store.put(Keys("day").epoch, epoch.encode())
    store.put(Keys("day").member("texas"), Presence(member=member("texas"), parked=True).encode())
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["sites"]["texas"]["parked"]
    assert not facts["sites"]["california"]["parked"]
    assert "parked" in next(line for line in text(facts).splitlines() if line.startswith("texas"))


def test_a_site_that_trains_on_without_the_store_is_named(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store)
    write_events(tmp_path)
    clock = SetClock()
    clock.t = 2400.0
    with EventLog(tmp_path / "run", site="texas", process="rank0.1", clock=clock) as log:
        log.emit(ev.StoreLost(reason="no answer"))
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["sites"]["texas"]["storeless_since_s"] == 2400.0
    assert "texas trains on without the store since 2026-03-21 17:40 UTC" in text(facts)


def test_a_wrong_override_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--config", str(run_file(tmp_path)), "--set", "policy.threshold=5"]) == 2
    assert "policy.threshold" in capsys.readouterr().err


@pytest.mark.integration
def test_status_reads_a_real_etcd_and_watching_ends_with_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with EmbeddedEtcd(election_timeout_ms=200) as etcd:
        file = run_file(tmp_path, endpoint=etcd.endpoint)
        config = RunConfig.from_yaml(file)
        from curtail_dist.coordination import open_store

        with open_store(config.coordination) as store:
            found(store, done=100)
        assert main(["status", "--config", str(file), "--json", "--watch"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["finished"], facts["active"]) == (True, ["texas"])
        assert main(["status", "--config", str(file), "--watch"]) == 0
        assert "day: complete; epoch 3" in capsys.readouterr().out


def test_how_a_site_stands_as_its_agent_has_it(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store)
    state = AgentState(
        stage="on",
        since=600.0,
        reason="50 g/kWh is below 100",
        g_per_kwh=50.0,
        measured_t=600.0,
        source="wind.csv",
        order="hold by op@desk: a test",
        failures=1,
        retry_at=900.0,
        waiting="no free GPU slot: 1 wanted, 0 of 1 free",
        troubles={"meter": "no answer"},
        polled_t=4200.0,
    )
    store.put(Keys("day").agent("texas"), state.encode())
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["sites"]["texas"]["agent"]["stage"] == "on"
    assert facts["sites"]["california"]["agent"] is None
    said = text(facts)
    assert "texas: on for 1:00 h, 50 g/kWh is below 100 (wind.csv)" in said
    assert "ordered: hold by op@desk: a test" in said
    assert "meter fails: no answer" in said
    assert "waits: no free GPU slot: 1 wanted, 0 of 1 free" in said
    assert "1 failed starts in a row; the next is tried soon" in said
    assert "california: no agent of it runs" in said
