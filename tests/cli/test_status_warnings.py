"""What `curtail status` has a person look at: each kind when it holds, and not when it does not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from statusrun import (
    SilentStore,
    agent,
    commit,
    found,
    run_file,
    run_started,
    seen,
    started,
    step,
    tell,
    write,
    write_events,
)

from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.membership.agent.orders import Order
from curtail_dist.membership.keys import Keys
from curtail_dist.telemetry import events as ev


def said(facts: dict[str, Any]) -> dict[str, str]:
    """Return what is said by kind; each kind at most once."""
    kinds = [warning["kind"] for warning in facts["warnings"]]
    assert len(kinds) == len(set(kinds))
    assert all(warning["says"] and warning["do"] for warning in facts["warnings"])
    return {warning["kind"]: warning["says"] for warning in facts["warnings"]}


def well(directory: Path, **fields: Any) -> MemoryStore:
    """One site that trains and of which all is known, its agent's state changed as told."""
    run_file(directory, sites=["texas"])
    store = MemoryStore(MemoryCluster())
    found(store, members=["texas"], alive=["texas"])
    tell(store, texas=agent(**fields))
    if not (directory / "run").exists():
        write_events(directory)
    return store


def test_where_all_is_well_there_is_nothing_to_look_at(tmp_path: Path):
    assert said(seen(tmp_path, well(tmp_path))) == {}


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"g_per_kwh": None}, "signal-lost", "texas has no fresh reading from wind.csv"),
        ({"from_forecast": True}, "signal-held", "texas goes by what its signal foretold"),
        (
            {"troubles": {"signal": "HTTP 500"}},
            "signal-held",
            "texas goes by its reading of 2026-03-21 17:10 UTC: HTTP 500",
        ),
        ({"troubles": {"meter": "no NVML"}}, "trouble", "texas: its meter fails: no NVML"),
        (
            {"failures": 3, "retry_at": None},
            "failed-starts",
            "texas: 3 failed starts in a row; the next is tried not before its next window",
        ),
        (
            {"failures": 1, "retry_at": 9.0, "failure": "the manifest is missing; see b.log"},
            "failed-starts",
            "texas: 1 failed start (the manifest is missing; see b.log); the next is tried soon",
        ),
        ({"waiting": "0 of 1 GPUs free"}, "waiting", "texas waits: 0 of 1 GPUs free"),
    ],
)
def test_what_an_agent_suffers_is_said_with_what_to_do(
    tmp_path: Path, fields: dict[str, Any], kind: str, words: str
):
    found = said(seen(tmp_path, well(tmp_path, **fields)))
    assert list(found) == [kind]
    assert found[kind].startswith(words)


def test_without_the_store_what_the_events_say_of_troubles_is_said(tmp_path: Path):
    well(tmp_path)
    write(
        tmp_path,
        "texas",
        (1801.0, ev.SignalLost(reason="no fresh reading from wind.csv")),
        (1802.0, ev.Trouble(part="meter", reason="no answer")),
        (1803.0, ev.Trouble(part="plan", reason="late")),
        (1804.0, ev.TroubleOver(part="plan", after_s=1.0)),
        process="agent.2",
    )
    found = said(seen(tmp_path, SilentStore()))
    assert set(found) == {"store-away", "signal-lost", "trouble"}
    assert found["trouble"] == "texas: its meter fails: no answer"
    assert found["store-away"] == "the store does not answer: no etcd at 127.0.0.1:1 answers"


def test_what_runs_beside_an_agent_is_told_by_the_events(tmp_path: Path):
    store = well(tmp_path)
    write(tmp_path, "texas", (1802.0, ev.Trouble(part="meter", reason="no NVML")), process="meter.2")
    assert said(seen(tmp_path, store)) == {"trouble": "texas: its meter fails: no NVML"}


def test_a_new_agent_forgets_what_the_old_one_suffered(tmp_path: Path):
    well(tmp_path)
    write(tmp_path, "texas", (1802.0, ev.Trouble(part="meter", reason="no answer")), process="agent.2")
    write(tmp_path, "texas", (1803.0, started()), process="agent.3")
    assert set(said(seen(tmp_path, SilentStore()))) == {"store-away"}


def test_a_member_that_gives_no_sign_of_life_is_named_and_no_other(tmp_path: Path):
    store = well(tmp_path)
    store.delete(Keys("day").member("texas"))
    assert said(seen(tmp_path, store)) == {"gone": "texas is a member and gives no sign of life"}


def test_who_left_in_order_as_the_last_is_not_missed(tmp_path: Path):
    store = well(tmp_path, stage="joining", since=1700.0)
    store.delete(Keys("day").member("texas"))
    write(tmp_path, "texas", (1600.0, ev.Phase(phase="off")), process="rank0.1")
    assert said(seen(tmp_path, store)) == {}
    store.delete(Keys("day").agent("texas"))
    assert set(said(seen(tmp_path, store))) == {"agent-absent"}
    write(tmp_path, "texas", (1900.0, ev.Phase(phase="train")), process="rank0.2")
    assert set(said(seen(tmp_path, store))) == {"agent-absent", "gone"}


def test_sites_without_an_agent_are_named_together(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    write_events(tmp_path)
    assert said(seen(tmp_path, store)) == {"agent-absent": "no agent runs for california, texas"}


def test_a_site_whose_events_are_elsewhere_is_named(tmp_path: Path):
    run_file(tmp_path)
    store = well(tmp_path)
    run_file(tmp_path)
    tell(store, california=agent(stage="off"))
    assert said(seen(tmp_path, store))["events-missing"].startswith("the events of california cannot be read")


@pytest.mark.parametrize(("stall_s", "kinds"), [(30.0, set()), (31.0, {"stall"})])
def test_more_than_three_tenths_of_stall_are_said(tmp_path: Path, stall_s: float, kinds: set[str]):
    write(
        tmp_path,
        "texas",
        (0.0, run_started()),
        (0.0, started()),
        (0.0, ev.ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace")),
        (0.0, ev.Phase(phase="train")),
        (100.0, commit(1, rows=1, by="texas")),
        (200.0, commit(2, rows=2, by="texas", stall_s=stall_s)),
    )
    assert set(said(seen(tmp_path, well(tmp_path)))) == kinds


def test_a_loss_that_is_no_number_is_said(tmp_path: Path):
    store = well(tmp_path)
    write(tmp_path, "texas", (1900.0, step(loss=float("nan"))), process="rank0.1")
    assert set(said(seen(tmp_path, store))) == {"diverged"}


def test_a_stopped_run_asks_for_a_release_and_not_for_agents(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    write_events(tmp_path)
    now = datetime.now(UTC)
    order = Order(kind="stop", reason="torch 2.15", by="op@desk", given=now)
    store.put(Keys("day").stop, order.encode())
    facts = seen(tmp_path, store)
    assert said(facts) == {"stopped": "the run is stopped: stop by op@desk: torch 2.15"}
    assert facts["end"]["reason"] == "the run is stopped"
    expired = Order(kind="stop", reason="", by="op", given=now, until=now - timedelta(hours=1))
    store.put(Keys("day").stop, expired.encode())
    assert set(said(seen(tmp_path, store))) == {"agent-absent"}


def test_a_complete_run_needs_nobody(tmp_path: Path):
    store = well(tmp_path)
    store.delete(Keys("day").member("texas"))
    store.delete(Keys("day").agent("texas"))
    found(store, members=["texas"], alive=[], done=100)
    assert said(seen(tmp_path, store)) == {}
