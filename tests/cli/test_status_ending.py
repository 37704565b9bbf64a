"""When a run will be complete, told from what its events say so far."""

from pathlib import Path

import pytest
from statusrun import OUTLOOK, agent, commit, found, run_file, run_started, seen, started, tell, write

from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.telemetry import events as ev


def half_done(directory: Path, *, outlook: tuple[tuple[float, float], ...] = OUTLOOK) -> MemoryStore:
    """Half an hour of training in which texas did 40 of 100 rows."""
    store = MemoryStore(MemoryCluster())
    found(store)
    tell(store, texas=agent())
    write(
        directory,
        "texas",
        (0.0, run_started()),
        (0.0, started(outlook=list(outlook))),
        (0.0, ev.Phase(phase="train")),
        (1800.0, commit(7, rows=40, by="texas")),
    )
    return store


def test_the_end_is_where_the_windows_ahead_suffice_for_the_rows_left(tmp_path: Path):
    run_file(tmp_path, sites=["texas"])
    end = seen(tmp_path, half_done(tmp_path))["end"]
    # 60 rows at 80 an hour: half an hour in this window, 15 minutes in the next one.
    assert end["t"] == pytest.approx(5400.0 + 900.0)
    assert end["utc"] == "2026-03-21T18:45:00+00:00"
    assert "windows" in end["reason"]


def test_an_outlook_that_ends_first_says_what_is_left(tmp_path: Path):
    run_file(tmp_path, sites=["texas"])
    end = seen(tmp_path, half_done(tmp_path, outlook=OUTLOOK[:3]))["end"]
    assert (end["t"], end["reason"]) == (
        None,
        "about 20 rows are left when the outlook ends, in 1:00 h",
    )


def test_without_an_outlook_the_work_left_is_all_that_can_be_said(tmp_path: Path):
    run_file(tmp_path, sites=["texas"])
    end = seen(tmp_path, half_done(tmp_path, outlook=()))["end"]
    assert end["t"] is None
    assert end["reason"] == (
        "the outlook of texas shows no windows ahead; 45 min more if the sites that are up stay so"
    )


def test_a_policy_that_never_leaves_needs_no_windows(tmp_path: Path):
    run_file(tmp_path, sites=["texas"], policy={"kind": "always"})
    end = seen(tmp_path, half_done(tmp_path, outlook=()))["end"]
    assert end["t"] == pytest.approx(1800.0 + 2700.0)


def test_a_plan_by_a_deadline_is_not_guessed_at(tmp_path: Path):
    run_file(tmp_path, sites=["texas"], policy={"kind": "work-price"})
    end = seen(tmp_path, half_done(tmp_path))["end"]
    assert (end["t"], end["reason"]) == (None, "the plan spreads the work up to 2.0 h after the start")


def test_of_a_policy_of_ones_own_nobody_else_knows_when_sites_are_on(tmp_path: Path):
    run_file(tmp_path, sites=["texas"], policy={"kind": "my_rules:Below", "options": {"g_per_kwh": 60}})
    end = seen(tmp_path, half_done(tmp_path))["end"]
    assert (end["t"], end["reason"]) == (None, "when sites are on is for my_rules:Below to say")


def test_a_second_site_that_can_come_halves_the_way(tmp_path: Path):
    run_file(tmp_path)
    store = half_done(tmp_path)
    write(tmp_path, "california", (0.0, started()), (0.0, ev.Phase(phase="off")))
    assert seen(tmp_path, store)["end"]["reason"].endswith("without california")
    tell(store, california=agent(stage="off"))
    assert seen(tmp_path, store)["end"]["t"] == pytest.approx(1800.0 + 1350.0)
    tell(store, california=agent(stage="off", order="hold by op: a test"))
    assert seen(tmp_path, store)["end"]["t"] == pytest.approx(6300.0)


def test_a_site_whose_events_are_elsewhere_makes_the_end_unknown(tmp_path: Path):
    run_file(tmp_path)
    store = half_done(tmp_path)
    write(tmp_path, "texas", (1801.0, commit(8, rows=50, by="california")), process="rank0.2")
    assert seen(tmp_path, store)["end"] == {
        "t": None,
        "utc": None,
        "reason": "the events of california are not here",
    }


def test_a_run_without_a_finished_round_has_no_pace(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store)
    assert seen(tmp_path, store)["end"]["reason"] == "no events of this run can be read here"
    write(tmp_path, "texas", (0.0, run_started()), (0.0, started()))
    assert seen(tmp_path, store)["end"]["reason"] == "the events here tell of no finished round yet"
    assert seen(tmp_path)["end"]["reason"] == "nobody has founded it yet"
