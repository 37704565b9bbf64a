"""The demo as a user runs it: a short day with a death, and one that is interrupted."""

import json
import signal
import subprocess
import sys
import time

import pytest

from curtail_dist.report.build import summarize
from curtail_dist.telemetry.record import read_events

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ORPHANS_S = 20.0
"""Real time in which what was started sees that the demo was killed."""
SITES = {"california", "texas", "south-australia"}
SUMMARY = {
    "schema": int,
    "run": str,
    "finished": bool,
    "wall_s": float,
    "virtual_h": float,
    "commits": int,
    "epochs": int,
    "tokens": int,
    "state_hash": str,
    "rows": {"total": int, "trained": int, "lost": int, "duplicated": int, "discarded": int},
    "loss": {"first": float, "last": float, "val_bpb": float, "baseline_val_bpb": type(None)},
    "sync": {"bytes_sent": int, "stall_s": float, "stall_share": float},
    "sites": {
        site: {
            "tokens": int,
            "inner_steps": int,
            "lost_steps": int,
            "joins": int,
            "drains": int,
            "deaths": int,
            "energy_kwh": {"train": float, "idle": float, "join": float, "sync": float},
            "of_which_kwh": {"wasted": float, "leave_delay": float},
            "emissions_kg": float,
            "share_in_window": float,
        }
        for site in SITES
    },
    "emissions_kg": float,
    "oracle_kg": float,
    "oracle_fraction": float,
}
"""What users rely on in summary.json; more may stand in it."""
BASELINE = {"emissions_kg": float, "hours": float, "energy_kwh": float, "share_in_window": float}


def check(found, promised, path="summary"):
    for key, kind in promised.items():
        assert key in found, f"{path}.{key} is missing"
        if isinstance(kind, dict):
            check(found[key], kind, f"{path}.{key}")
        else:
            assert type(found[key]) is kind, f"{path}.{key} is {found[key]!r}"


@pytest.fixture(scope="module")
def day(start_demo):
    demo = start_demo("--kill", "texas@3")
    demo.wait()
    assert demo.process.returncode == 0, demo.said
    return demo


@pytest.fixture(scope="module")
def summary(day):
    return json.loads((day.out / "summary.json").read_text())


def test_the_summary_holds_what_is_promised(summary):
    check(summary, SUMMARY)
    assert summary["baselines"]
    for name, baseline in summary["baselines"].items():
        check(baseline, BASELINE, name)


def test_the_run_finishes_and_learns(summary):
    assert (summary["schema"], summary["run"], summary["finished"]) == (1, "demo", True)
    assert 0 < summary["loss"]["last"] < summary["loss"]["first"]
    assert len(summary["state_hash"]) == 64


def test_every_row_is_trained_once_although_a_site_died(summary):
    rows = summary["rows"]
    assert rows["total"] > 100
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)


def test_the_kill_fired_inside_a_round_of_its_site_alone(summary, day):
    assert {site: one["deaths"] for site, one in summary["sites"].items()} == {
        "texas": 1,
        "california": 0,
        "south-australia": 0,
    }
    (fault,) = [record for record in read_events(day.out) if record.event == "fault"]
    assert (fault["kind"], fault["target"]) == ("SIGKILL", "texas")
    assert summary["sites"]["texas"]["lost_steps"] >= 1
    assert summary["rows"]["discarded"] >= 1


def test_no_other_site_lost_a_step_by_it(summary):
    lost = {site: one["lost_steps"] for site, one in summary["sites"].items() if site != "texas"}
    assert lost == {"california": 0, "south-australia": 0}


def test_sites_join_and_drain_and_the_dead_one_comes_back(summary):
    sites = summary["sites"]
    assert all(one["joins"] >= 1 for one in sites.values())
    assert sites["california"]["drains"] == 1
    assert sites["texas"]["joins"] >= 3
    assert sum(one["tokens"] for one in sites.values()) == summary["tokens"]


def test_all_sites_commit_the_same_bytes(day):
    hashes: dict[int, set[str]] = {}
    for record in read_events(day.out):
        if record.event == "commit":
            hashes.setdefault(record["version"], set()).add(record["hash"])
    assert len(hashes) >= 10
    assert all(len(found) == 1 for found in hashes.values())


def test_training_takes_place_in_the_windows_and_saves_emissions(summary):
    assert all(one["share_in_window"] > 0.7 for one in summary["sites"].values())
    assert summary["emissions_kg"] < min(one["emissions_kg"] for one in summary["baselines"].values())
    assert 0 < summary["oracle_kg"] <= summary["emissions_kg"]


def test_the_report_stands_in_the_run_directory_and_says_the_same_when_made_again(day, summary):
    assert (day.out / "report.html").read_text().startswith("<!doctype html>")
    assert (day.out / "report.png").read_bytes().startswith(b"\x89PNG")
    assert (day.out / "config.yaml").exists()
    assert json.loads(json.dumps(summarize([day.out]))) == summary


def test_one_can_talk_to_what_it_trained(day):
    ask = [sys.executable, "-m", "nanochat.chat", str(day.out), "--max-tokens", "20", "--prompt"]
    told = subprocess.run(
        [*ask, "import", "--complete"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.strip()
    answered = subprocess.run([*ask, "Hello?"], capture_output=True, text=True, timeout=60, check=False)
    assert (answered.returncode, answered.stderr) == (0, "")


def test_what_it_says_can_be_read_in_a_file(day):
    odd = {character for character in day.said if not character.isprintable() and character != "\n"}
    assert not odd
    assert "Traceback" not in day.said
    assert "texas DIED" in day.said
    assert f"Report     {day.out / 'report.html'}" in day.said
    assert all(len(line) < 250 for line in day.said.splitlines())


def test_nothing_runs_or_listens_after_it(day):
    assert len(day.started) >= 5, "etcd, agents and ranks were seen"
    assert day.left_behind() == []
    assert day.ports_open() == []


@pytest.mark.fault
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_however_the_demo_is_ended_nothing_of_it_is_left(start_demo, number, code):
    demo = start_demo("--sites", "2")
    demo.wait(lambda: any('"step"' in file.read_text() for file in demo.out.glob("events/*.rank-*.jsonl")))
    assert demo.process.poll() is None, demo.said
    assert len(demo.started) >= 5
    demo.process.send_signal(number)
    assert demo.process.wait(60) == code, demo.said
    assert "Traceback" not in demo.said
    deadline = time.monotonic() + (0 if code == 130 else ORPHANS_S)
    while time.monotonic() < deadline and (demo.left_behind() or demo.ports_open()):
        time.sleep(0.1)
    assert demo.left_behind() == []
    assert demo.ports_open() == []


@pytest.mark.fault
def test_a_kill_that_never_came_is_told_beside_the_report(start_demo):
    demo = start_demo("--sites", "1", "--kill", "california@99")
    demo.wait()
    assert demo.process.returncode == 2, demo.said
    assert "--kill california@99 never came: the site took part in fewer rounds" in demo.said
    assert json.loads((demo.out / "summary.json").read_text())["finished"]
    assert (demo.out / "report.html").exists()
