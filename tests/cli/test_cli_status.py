import json
from pathlib import Path

import pytest
from statusrun import SetClock, SilentStore, agent, found, member, run_file, seen, tell, write_events

from curtail_dist.cli.main import main
from curtail_dist.cli.status.facts import look
from curtail_dist.cli.status.terminal import text
from curtail_dist.config import RunConfig
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Epoch, Presence
from curtail_dist.membership.refusal import Refusal
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog


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
    assert [name for name, site in facts["sites"].items() if site["gone"]] == ["california"]
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
    assert "30 min left" in text(facts)


def test_an_unreachable_store_is_one_line_and_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--config", str(run_file(tmp_path))]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "127.0.0.1:1" in error


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
    shown = text(facts, 200)
    assert "THE STORE DOES NOT ANSWER, who is active is not known; the events say: epoch" in shown


def test_without_store_and_events_status_still_says_what_it_cannot_know(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    facts = look(config, SilentStore(), LiveView(config.run.directory))
    assert (facts["founded"], facts["version"], facts["rows"]["total"]) == (None, None, None)
    assert "the events say nothing of the run" in text(facts, 200)


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
    assert [warning["do"] for warning in facts["warnings"]] == ["nothing, since the run is complete"]


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


def texas_adds(event: ev.Event, folder: Path) -> None:
    """Write the events of a run, and one of a rank of texas 40 min into it."""
    write_events(folder)
    clock = SetClock()
    clock.t = 2400.0
    with EventLog(folder / "run", site="texas", process="rank0.1", clock=clock) as log:
        log.emit(event)


def test_a_site_that_trains_on_without_the_store_is_named(tmp_path: Path):
    config = RunConfig.from_yaml(run_file(tmp_path))
    store = MemoryStore(MemoryCluster())
    found(store)
    texas_adds(ev.StoreLost(reason="no answer"), tmp_path)
    facts = look(config, store, LiveView(config.run.directory))
    assert facts["sites"]["texas"]["storeless_since_s"] == 2400.0
    assert "texas trains on without the store since 2026-03-21 17:40 UTC" in text(facts)


def test_a_wrong_override_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["status", "--config", str(run_file(tmp_path)), "--set", "policy.threshold=5"]) == 2
    assert "policy.threshold" in capsys.readouterr().err


def test_why_ranks_refused_to_train_is_shown_where_their_agent_has_ended_over_it(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store)
    tell(store, texas=agent())
    told = Refusal(reason="outer.lr is 0.5, the run's is 0.7", start="1.000", final=True)
    for site in ("california", "texas"):
        store.put(Keys("day").refused(site), told.encode())
    facts = seen(tmp_path, store)
    assert facts["sites"]["california"]["refused"] == told.reason
    said = text(facts, 200)
    assert "california: its ranks end: outer.lr is 0.5, the run's is 0.7" in said
    assert "texas: its ranks end" not in said


def test_how_long_a_site_stands_so_is_told_up_to_the_newest_event(tmp_path: Path):
    """Its agent reads the signal once a minute, and says nothing between where nothing changes."""
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store)
    texas_adds(ev.Phase(phase="train"), tmp_path)
    tell(store, texas=agent(since=600.0, polled_t=600.0))
    assert "texas: on for 30 min, 50 g/kWh is below 100" in text(seen(tmp_path, store), 200)


def test_how_a_site_stands_as_its_agent_has_it(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store)
    state = agent(
        order="hold by op@desk: a test",
        failures=1,
        retry_at=900.0,
        waiting="no free GPU slot: 1 wanted, 0 of 1 free",
        troubles={"meter": "no answer"},
        polled_t=4200.0,
    )
    tell(store, texas=state)
    facts = seen(tmp_path, store)
    assert facts["sites"]["texas"]["agent"]["stage"] == "on"
    assert facts["sites"]["california"]["agent"] is None
    said = text(facts, 200)
    assert "texas: on for 1:00 h, 50 g/kWh is below 100 (wind.csv)" in said
    assert "ordered: hold by op@desk: a test" in said
    assert "texas: its meter fails: no answer" in said
    assert "waits: no free GPU slot: 1 wanted, 0 of 1 free" in said
    assert "texas: 1 failed start; the next is tried soon" in said
    assert "no agent runs for california" in said
