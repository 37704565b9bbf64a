import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from writing import SetClock, site_started

from curtail_dist.cli.main import main
from curtail_dist.clock import SystemClock
from curtail_dist.errors import DataError
from curtail_dist.report.accounts import reckon
from curtail_dist.report.build import summarize
from curtail_dist.report.history import build_history
from curtail_dist.report.summary import member_seconds
from curtail_dist.telemetry.events import EpochFormed, Event, Phase, RunStarted, Step
from curtail_dist.telemetry.record import EventLog, Record, read_events

INTERFACE = {
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
    "loss": {"first": float, "last": float, "val_bpb": float, "baseline_val_bpb": (float, type(None))},
    "sync": {"bytes_sent": int, "stall_s": float, "stall_share": float},
    "emissions_kg": float,
    "oracle_kg": float,
    "oracle_fraction": float,
}
SITE = {
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
    "join_s": dict,
}
BASELINE = {"emissions_kg": float, "hours": float, "energy_kwh": float, "share_in_window": float}


def check(found, wanted, path=""):
    if isinstance(wanted, dict):
        for key, kind in wanted.items():
            check(found[key], kind, f"{path}.{key}")
    else:
        assert isinstance(found, wanted), path


def test_the_summary_has_every_field_of_the_interface(day: Path):
    summary = summarize([day])
    check(summary, INTERFACE)
    for site in summary["sites"].values():
        check(site, SITE)
    for baseline in summary["baselines"].values():
        check(baseline, BASELINE)
    json.dumps(summary, allow_nan=False)


def test_a_days_run_is_counted_as_it_was_written(day: Path):
    summary = summarize([day])
    assert summary["finished"]
    assert summary["rows"] == {
        "total": 15_200,
        "trained": 15_200,
        "lost": 0,
        "duplicated": 0,
        "untold": 0,
        "discarded": 80,
    }
    assert summary["state_hash"] == f"{summary['commits']:08x}"
    assert summary["tokens"] == sum(site["tokens"] for site in summary["sites"].values())
    assert summary["epochs"] == 7
    assert summary["loss"]["first"] > 7 > summary["loss"]["last"]


def test_a_killed_sites_training_is_lost_and_its_energy_wasted(day: Path):
    site = summarize([day])["sites"]["south-australia"]
    assert (site["deaths"], site["joins"], site["lost_steps"]) == (1, 2, 20)
    assert site["of_which_kwh"]["wasted"] == pytest.approx(20 * 15.0 * 2.024 / 3600)
    others = [other for name, other in summarize([day])["sites"].items() if name != "south-australia"]
    assert all(other["of_which_kwh"]["wasted"] == 0 for other in others)


def test_an_undisturbed_run_wastes_nothing(write_day):
    summary = summarize([write_day("calm", kill=0)])
    assert summary["rows"]["discarded"] == 0
    assert all(site["of_which_kwh"]["wasted"] == 0 for site in summary["sites"].values())


def test_an_unfinished_run_has_lost_no_rows(write_day):
    summary = summarize([write_day("short", hours=6.0, kill=0)])
    assert not summary["finished"]
    assert summary["rows"]["lost"] == 0
    assert summary["rows"]["trained"] < summary["rows"]["total"]


def test_emissions_are_those_of_the_sites_and_lie_between_bound_and_always_on(day: Path):
    summary = summarize([day])
    assert summary["emissions_kg"] == pytest.approx(
        sum(site["emissions_kg"] for site in summary["sites"].values())
    )
    always = [summary["baselines"][name]["emissions_kg"] for name in summary["sites"]]
    assert summary["oracle_kg"] < summary["emissions_kg"] < min(always)
    mean = sum(always) / len(always)
    share = (mean - summary["emissions_kg"]) / (mean - summary["oracle_kg"])
    assert summary["oracle_fraction"] == pytest.approx(share)


def test_a_site_whose_events_are_elsewhere_is_named_with_its_share_of_the_work(day: Path, tmp_path: Path):
    whole = summarize([day])
    elsewhere = tmp_path / "texas" / "events"
    elsewhere.mkdir(parents=True)
    for file in (day / "events").glob("texas.*"):
        file.rename(elsewhere / file.name)
    summary = summarize([day])
    assert summary["absent"] == ["texas"]
    share = whole["sites"]["texas"]["tokens"] / whole["tokens"]
    assert summary["not_counted"][0] == (
        "texas: No events of an agent are here, so that nothing is counted of what it drew, emitted and lost "
        f"over {share:.1%} of all tokens; give its run directory with --from."
    )
    told = sum(site["tokens"] for site in summary["sites"].values())
    assert told == summary["tokens"] - whole["sites"]["texas"]["tokens"]
    grams = summary["sci_g_per_million_tokens"]["marginal"]
    assert grams == pytest.approx(summary["emissions_kg"] * 1000 / (told / 1e6))
    assert summarize([day, elsewhere.parent])["absent"] == []


def written(folder: Path, site: str, told: list[tuple[float, int, Event]]) -> None:
    clock = SetClock()
    with EventLog(folder, site=site, process="1", clock=clock) as log:
        for clock.t, epoch, event in told:
            log.place(epoch=epoch)
            log.emit(event)


@pytest.mark.parametrize(
    ("later", "stretches"),
    [
        ([], [("train", 0.0, 604.0)]),
        ([(7000.0, 3, Phase(phase="train"))], [("train", 0.0, 7200.0)]),  # it comes again
        ([(603.0, 0, Phase(phase="join"))], [("train", 0.0, 603.0), ("join", 603.0, 7200.0)]),
    ],
)
def test_a_host_that_lost_its_power_draws_none_once_the_others_missed_it(tmp_path: Path, later, stretches):
    step = Step(steps=1, tokens=10, rows=1, loss=2.0)
    started = RunStarted(run="r", seed=1, start="2026-03-21T17:00:00+00:00", rows=9, virtual=False)
    begun = [(0.0, 0, site_started(outlook=[(0.0, 50.0), (9000.0, 50.0)])), (0.0, 0, Phase(phase="train"))]
    begun += [(1.0, 1, EpochFormed(members=["lives", "dies"], reason="joined"))]
    alone = EpochFormed(members=["lives"], reason="lost")
    written(tmp_path, "lives", [(0.0, 0, started), *begun, (604.0, 2, alone), (7200.0, 2, step)])
    written(tmp_path, "dies", [*begun, (600.0, 1, step), *later])
    (site,) = (one for name, one in build_history(read_events(tmp_path)).sites.items() if name == "dies")
    assert [(one.phase, one.start, one.stop) for one in site.intervals] == stretches


def test_the_events_of_two_runs_are_not_told_as_one(write_day):
    one, other = write_day("one", hours=2.0), write_day("other", hours=3.0)
    for file in (other / "events").iterdir():
        lines = file.read_text().replace('"start": "2026', '"start": "2027')
        file.write_text(lines)
    several = r"of several runs: day, begun 2026.* and day, begun 2027.*; they must be of one"
    with pytest.raises(DataError, match=several):
        summarize([one, other])


def test_what_is_printed_says_whose_emissions_are_left_out(day: Path, capsys: pytest.CaptureFixture[str]):
    for file in (day / "events").glob("texas.*"):
        file.unlink()
    assert main(["report", str(day)]) == 0
    said = capsys.readouterr().out
    assert "emissions, WITHOUT texas: " in said
    assert "- texas: No events of an agent are here" in said
    assert "texas: No events of an agent are here" in (day / "methods.md").read_text()


def test_baselines_do_the_work_that_is_in_the_chain(day: Path):
    history = build_history(read_events(day))
    accounts = reckon(history)
    steps = sum(entry["steps"] for commit in history.chain for entry in commit.work)
    exchanging_s = sum(energy.energy_kwh["sync"] for energy in accounts.sites.values()) / 0.468 * 3600
    # The made-up day's last round takes its full time although it has fewer rows.
    assert accounts.work_s == pytest.approx(steps * 15.0, abs=600.0)
    assert accounts.pair_efficiency == pytest.approx(600 / 620, rel=0.01)
    assert exchanging_s > 0


def test_the_baselines_bits_per_byte_come_from_the_directory_below(day: Path):
    (day / "baseline").mkdir()
    (day / "baseline" / "summary.json").write_text('{"loss": {"val_bpb": 1.25}}')
    assert summarize([day])["loss"]["baseline_val_bpb"] == 1.25


def test_a_site_whose_events_lie_elsewhere_is_counted_when_its_directory_is_given(day: Path, tmp_path: Path):
    whole = summarize([day])
    away = tmp_path / "away" / "events"
    away.mkdir(parents=True)
    for file in (day / "events").glob("texas.*"):
        file.rename(away / file.name)
    assert summarize([day, tmp_path / "away"]) == whole
    assert "texas" not in summarize([day])["sites"]


def test_events_without_a_founding_are_refused(tmp_path: Path, day: Path):
    (tmp_path / "part" / "events").mkdir(parents=True)
    for file in (day / "events").glob("texas.*"):
        file.rename(tmp_path / "part" / "events" / file.name)
    with pytest.raises(DataError, match=r"run_started, which the site that founded .* \(--from DIR\)"):
        summarize([tmp_path / "part"])


def test_member_time_ends_when_the_site_has_drained(day: Path):
    records = [r for r in read_events(day) if r.site == "california"]
    joined = [r.wall for r in records if r.event == "joined"]
    drained = [r.wall for r in records if r.event == "drained"]
    expected = math.fsum((b - a).total_seconds() for a, b in zip(joined, drained, strict=True))
    assert member_seconds(records) == pytest.approx(expected)


@pytest.mark.parametrize("torn", ["{", "[]", '{"loss": 3}', '{"loss": {"val_bpb": "low"}}'])
def test_a_baselines_summary_that_is_none_is_named(day: Path, torn: str, capsys: pytest.CaptureFixture[str]):
    (day / "baseline").mkdir()
    (day / "baseline" / "summary.json").write_text(torn)
    assert main(["report", str(day)]) == 2
    assert f"{day / 'baseline' / 'summary.json'} is no summary of a run" in capsys.readouterr().err


def test_a_process_that_was_parked_in_between_was_a_member_twice():
    begun = datetime(2026, 1, 1, tzinfo=UTC)

    def say(second: int, event: str) -> Record:
        wall = begun + timedelta(seconds=second)
        place = {"site": "texas", "process": "rank0.1", "epoch": 1, "round": 1}
        return Record(event=event, t=float(second), wall=wall, seq=second, **place)  # type: ignore[arg-type]

    moments = [(0, "joined"), (10, "drained"), (70, "phase"), (100, "joined"), (105, "step")]
    assert member_seconds([say(*moment) for moment in moments]) == 15.0


def test_a_report_without_a_sites_events_calls_no_row_lost_that_it_trained_alone(
    write_day, capsys: pytest.CaptureFixture[str]
):
    run = write_day("day", kill=0)
    whole = summarize([run])
    for file in (run / "events").glob("south-australia.*"):
        file.unlink()
    assert main(["report", str(run)]) == 0
    said, found = capsys.readouterr().out, json.loads((run / "summary.json").read_text())
    rows = found["rows"]
    assert (whole["rows"]["lost"], whole["rows"]["untold"]) == (rows["lost"], 0) == (0, 0)
    assert rows["untold"] > 0 and rows["trained"] + rows["untold"] == rows["total"]
    assert (found["commits"], found["tokens"]) == (whole["commits"], whole["tokens"])
    assert f"{rows['untold']:,} IN VERSIONS THAT NO EVENTS HERE TELL OF" in said
    assert "note: no events here tell of versions" in said and "over at least" in said
    page = (run / "report.html").read_text()
    assert f"{rows['untold']:,} in versions that no events here tell of" in page
    assert f"{rows['untold']:,} rows are in versions of which no record" in (run / "methods.md").read_text()


def test_the_later_of_two_phases_at_one_moment_wins(day: Path):
    history = build_history(read_events(day))
    spans = history.sites["south-australia"].intervals
    death = history.sites["south-australia"].deaths[0]
    assert not any(span.start <= death < span.stop for span in spans)
    assert all(a.stop <= b.start for a, b in pairwise(spans))


def test_what_was_read_replaces_the_outlook_only_while_the_run_goes_on(write_day):
    directory = write_day("short", hours=6.0, kill=0)
    lines = []
    file = directory / "events" / "texas.agent.1.jsonl"
    for line in file.read_text().splitlines():
        raw = json.loads(line)
        if raw["event"] == "reading":
            raw["g_per_kwh"] = 7.0
        lines.append(json.dumps(raw))
    file.write_text("\n".join(lines) + "\n")
    intensity = build_history(read_events(directory)).sites["texas"].intensity
    assert intensity.at(3600.0) == 7.0
    assert intensity.at(17.5 * 3600.0) > 100


def test_a_site_that_never_had_a_reading_is_off_and_without_a_baseline(day: Path):
    file = day / "events" / "newark.agent.1.jsonl"
    log = EventLog(day, site="newark", process="agent.1", clock=SystemClock(datetime.now(UTC)))
    with log:
        log.emit(site_started(synthetic=False))
        log.emit(Phase(phase="off"))
    assert file.exists()
    summary = summarize([day])
    assert summary["sites"]["newark"]["emissions_kg"] == 0
    assert "newark" not in summary["baselines"]
    assert any("newark" in note for note in summary["notes"])
