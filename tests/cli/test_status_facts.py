"""What `curtail status` finds out beside what the store says."""

import json
import math
from pathlib import Path

import pytest
from statusrun import (
    SilentStore,
    commit,
    found,
    run_file,
    run_started,
    seen,
    started,
    step,
    write,
    write_events,
)

from curtail_dist.cli.status.terminal import text
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry import events as ev

KEYS = {
    *("run", "store", "founded", "finished", "epoch", "active", "version", "tokens", "rows", "round"),
    *("tokens_per_s", "t", "utc", "emissions_kg", "sites"),
}
SITE_KEYS = {
    *("member", "alive", "parked", "storeless_since_s", "phase", "g_per_kwh", "tokens_per_s", "loss"),
    *("deaths", "emissions_kg", "next_window_s", "agent"),
}


def test_what_programs_read_is_there_with_and_without_a_store(tmp_path: Path):
    run_file(tmp_path)
    write_events(tmp_path)
    for facts in (seen(tmp_path), seen(tmp_path, SilentStore())):
        assert set(facts) >= KEYS
        assert set(facts["sites"]["texas"]) >= SITE_KEYS
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_idle_is_waiting_and_parking_in_the_time_with_ranks(tmp_path: Path):
    phases = [(0.0, "off"), (100.0, "join"), (200.0, "train"), (500.0, "idle"), (600.0, "parked")]
    write(
        tmp_path,
        "texas",
        (0.0, started()),
        *((t, ev.Phase(phase=phase)) for t, phase in phases),
        (1100.0, ev.Phase(phase="off")),
        (9000.0, ev.ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace")),
    )
    view = LiveView(tmp_path / "run")
    view.poll()
    assert view.sites["texas"].idle_share() == pytest.approx(600.0 / 1000.0)
    assert view.sites["texas"].up_s() == pytest.approx(400.0)


def test_stall_is_a_share_of_the_time_between_the_last_versions(tmp_path: Path):
    run_file(tmp_path)
    write(
        tmp_path,
        "texas",
        (0.0, run_started()),
        (0.0, started()),
        (0.0, ev.Phase(phase="train")),
        (100.0, commit(1, rows=1, by="texas", stall_s=90.0)),
        (200.0, commit(2, rows=2, by="texas", stall_s=20.0)),
        (300.0, commit(3, rows=3, by="texas", stall_s=30.0)),
    )
    assert seen(tmp_path)["sites"]["texas"]["stall_share"] == pytest.approx(50.0 / 200.0)
    write(tmp_path, "texas", (301.0, ev.Phase(phase="off")), process="agent.2")
    assert seen(tmp_path)["sites"]["texas"]["stall_share"] is None


def test_the_runs_loss_leaves_out_what_is_no_number(tmp_path: Path):
    run_file(tmp_path)
    losses = [4.0, 5.0, math.nan]
    write(
        tmp_path, "texas", (0.0, started()), *((float(t), step(loss=loss)) for t, loss in enumerate(losses))
    )
    facts = seen(tmp_path)
    assert facts["loss"] == pytest.approx(4.5)
    assert (facts["sites"]["texas"]["loss"], facts["sites"]["texas"]["diverged"]) == (None, True)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_bits_per_byte_that_are_no_number_are_said_in_words_and_never_as_json(tmp_path: Path, odd: float):
    run_file(tmp_path, sites=["texas"])
    store = MemoryStore(MemoryCluster())
    found(store, members=["texas"])
    write_events(tmp_path)
    write(tmp_path, "texas", (1900.0, ev.Evaluated(version=7, val_bpb=odd)), process="rank0.1")
    facts = seen(tmp_path, store)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["val_bpb"], facts["held_out_diverged"]) == (None, True)
    assert "held-out-diverged" in {warning["kind"] for warning in facts["warnings"]}
    assert "held out: no finite number" in " ".join(text(facts, 80).split())


@pytest.mark.parametrize("broken", ["not an event", None])
def test_an_event_file_that_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path: Path, broken: str | None):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store)
    write_events(tmp_path)
    file = tmp_path / "run" / "events" / "texas.agent.9.jsonl"
    if broken is None:
        file.mkdir()
    else:
        file.write_text(broken + "\n")
    facts = seen(tmp_path, store)
    assert "texas.agent.9.jsonl" in facts["events"]["error"]
    assert (facts["version"], facts["active"]) == (7, ["texas"])
    assert facts["warnings"][0]["kind"] == "events-broken"
