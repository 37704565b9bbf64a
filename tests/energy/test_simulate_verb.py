import argparse
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from curtail_launch.demo.day import write_day

from curtail_dist.cli.main import main
from curtail_dist.cli.simulate import VERB
from curtail_dist.energy.footprint import AVERAGE_READ
from curtail_dist.errors import UserError

RUN = """
run: {name: day, deadline_h: 18, start: "2026-03-21T17:00:00+00:00"}
clock: {kind: virtual, endpoint: "127.0.0.1:1", step_s: 5.0, sync_s: 125.0, join_s: 345.0}
round: {steps: 100}
data: {manifest: manifest.json}
policy: {poll_s: 10.0}
sites:
  california:
    signal: {kind: trace, path: traces/california.csv}
    power: {train_w: 2024.0, idle_w: 468.0}
  texas:
    signal: {kind: trace, path: traces/texas.csv}
    power: {train_w: 2024.0, idle_w: 468.0}
  south-australia:
    signal: {kind: trace, path: traces/south-australia.csv}
    power: {train_w: 2024.0, idle_w: 468.0}
baselines:
  mirror: {kind: trace, path: traces/texas.csv}
"""


@pytest.fixture
def verb(write, capsys):
    """Run the verb on a run file and return what it printed."""

    def _verb(run, *arguments):
        parser = argparse.ArgumentParser()
        VERB.add_arguments(parser)
        file = write(run, "run.yaml")
        assert VERB.run(parser.parse_args(["--config", str(file), *arguments])) == 0
        return capsys.readouterr().out

    return _verb


@pytest.fixture
def simulate(tmp_path, verb):
    """Run the verb on the published day and return what it printed."""
    write_day(tmp_path / "traces")
    return partial(verb, RUN)


def constant_sites(values, *, hours, **policy):
    """Return a run file of sites with constant signals."""
    power = {"train_w": 2000.0, "idle_w": 400.0}
    sites = {f"s{v:g}": {"signal": {"kind": "constant", "value": v}, "power": power} for v in values}
    tree = {
        "run": {"name": "constant", "deadline_h": hours, "start": "2026-03-21T00:00:00+00:00"},
        "sites": sites,
        "policy": policy,
        "clock": {"join_s": 345.0},
        "data": {"manifest": "none.json"},
    }
    return json.dumps(tree)


def facts(text):
    return json.loads(text)


def test_the_day_is_done_by_its_deadline_and_reckoned_against_baselines_and_optimum(simulate):
    day = facts(simulate("--work-h", "17.78", "--json"))
    assert day["finished"]
    assert 14.0 < day["hours"] < 15.0
    assert day["work_h"] == pytest.approx(17.78)
    assert day["sites"]["california"]["windows"] == [[300, 8100], [8400, 23700]]
    assert day["sites"]["texas"]["windows_utc"] == [["03:05", "07:25:44"]]  # when the work is done
    assert sum(site["train_h"] for site in day["sites"].values()) == pytest.approx(17.78)
    assert sum(site["emissions_kg"] for site in day["sites"].values()) == pytest.approx(day["emissions_kg"])
    assert day["oracle_kg"] < day["emissions_kg"] < day["baselines"]["south-australia"]["emissions_kg"]
    assert set(day["baselines"]["texas"]) == {"emissions_kg", "hours", "energy_kwh", "share_in_window"}
    assert day["baselines"]["texas"]["hours"] == pytest.approx(17.78)
    assert day["baselines"]["mirror"] == day["baselines"]["texas"]
    assert day["baselines"]["california+texas"]["hours"] == pytest.approx(17.78 / 1.6)
    assert day["oracle_pair_efficiency"] == pytest.approx(0.8)
    singles = [day["baselines"][site]["emissions_kg"] for site in day["sites"]]
    reference = sum(singles) / 3
    share = (reference - day["emissions_kg"]) / (reference - day["oracle_kg"])
    assert day["oracle_fraction"] == pytest.approx(share)
    assert day["oracle_kg"] <= day["oracle_schedule_kg"] <= 1.02 * day["oracle_kg"]
    assert day["oracle_multiple"] == pytest.approx(day["emissions_kg"] / day["oracle_schedule_kg"])
    causes = day["emissions_by_cause_kg"]
    assert sum(causes[name] for name in ("train", "idle", "join", "sync")) == pytest.approx(
        day["emissions_kg"]
    )
    assert 0 < causes["leave_delay"] < causes["train"]
    assert day["synthetic"]


def test_always_emits_more_than_the_threshold_and_ends_sooner(simulate):
    threshold, always = facts(simulate("--json")), facts(simulate("--policy", "always", "--json"))
    assert always["emissions_kg"] > 2 * threshold["emissions_kg"]
    assert always["hours"] < threshold["hours"]


def test_work_that_the_windows_do_not_hold_is_said_to_be_unfinished(simulate):
    day = facts(simulate("--work-h", "40", "--json"))
    assert not day["finished"]
    assert day["hours"] == 18
    assert day["work_h"] < 40
    assert "give a longer trace" in day["missing_baselines"]["texas"]
    assert "NOT done by the deadline" in simulate("--work-h", "40")


def test_the_work_is_the_run_file_s_where_the_command_line_says_none(simulate):
    asked = ("--set", "policy.work_h=2")
    for policy in ("threshold", "work-price"):
        day = facts(simulate("--policy", policy, "--json", *asked, "--set", "policy.poll_s=300"))
        assert (day["asked_work_h"], day["work_h"]) == (2.0, pytest.approx(2.0))
    assert facts(simulate("--json", *asked, "--work-h", "3"))["asked_work_h"] == 3.0


def test_tokens_are_counted_where_their_rate_is_given(simulate):
    assert facts(simulate("--json"))["tokens"] is None
    day = facts(simulate("--tokens-per-second", "1000", "--work-h", "2", "--json"))
    assert day["tokens"] == 7_200_000
    assert day["inner_steps"] == 1440


def test_the_text_says_that_the_traces_are_synthetic_and_when_sites_are_on(simulate):
    text = simulate()
    assert "synthetic" in text
    assert "[17:05, 19:15) [19:20, 23:35)" in text
    assert "offline optimum" in text


def test_a_site_whose_signal_says_average_intensity_is_noted_as_a_report_notes_it(simulate, write):
    rows = "".join(f"2026-03-{21 + h // 24} {h % 24:02d}:00:00,40\n" for h in range(17, 42))
    path = write(f"Datetime (UTC),Carbon intensity gCO\u2082eq/kWh (Life cycle)\n{rows}", "maps.csv")
    note = f"texas: {AVERAGE_READ}"
    average = ("--set", f"sites.texas.signal.path={path}")
    day = facts(simulate(*average, "--json"))
    assert {name: site["basis"] for name, site in day["sites"].items()} == {
        "california": "marginal",
        "texas": "average",
        "south-australia": "marginal",
    }
    assert day["notes"] == [note]
    assert f"\nnote: {note}" in simulate(*average)
    assert facts(simulate("--json"))["notes"] == []


def test_without_a_start_the_run_starts_with_the_traces(simulate):
    assert facts(simulate("--set", "run.start=null", "--json"))["start"] == "2026-03-21T17:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "policy.threshold_g_per_kwh=1"), "policy.threshold_g_per_kwh is 1; the lowest intensity"),
        (("--policy", "sometimes"), "policy.kind is 'sometimes'"),
        (("--work-h", "-1"), "--work-h is -1"),
        (("--set", "run.start=2030-01-01"), "set run.start"),
        (("--set", "sites.texas.signal.value_column=moer"), "'g_per_kwh'"),
        (("--set", "run.start=2026-03-01"), "texas"),
    ],
)
def test_wrong_input_is_one_clear_line(simulate, arguments, says):
    with pytest.raises(UserError) as caught:
        simulate(*arguments)
    assert says in str(caught.value) or says == "texas"
    assert "\n" not in str(caught.value)


def test_a_work_price_that_knows_the_day_emits_less_than_the_threshold_and_keeps_the_deadline(simulate):
    threshold = facts(simulate("--work-h", "17.78", "--json"))
    priced = facts(simulate("--policy", "work-price", "--forecast", "perfect", "--work-h", "17.78", "--json"))
    assert priced["finished"]
    assert priced["emissions_kg"] < threshold["emissions_kg"]
    assert priced["oracle_multiple"] < 1.05
    assert "work-price (least emissions by the deadline, forecast: none)" in simulate(
        "--policy", "work-price", "--forecast", "none", "--work-h", "10"
    )


def test_each_decision_is_told_with_its_reading(simulate):
    decisions = facts(simulate("--work-h", "2", "--json"))["decisions"]
    assert [(one["t"], one["site"], one["what"]) for one in decisions[:2]] == [
        (300.0, "california", "join"),
        (645.0, "california", "up"),
    ]
    assert decisions[0]["g_per_kwh"] < 100


def test_without_readings_no_site_starts_and_it_takes_two_to_resume(simulate):
    day = facts(simulate("--work-h", "2", "--outage-h", "0", "2", "--json"))
    assert day["sites"]["california"]["windows"][0][0] == 7210  # the second reading after it


SHORT = "time,g_per_kwh\n2026-03-21T00:00:00Z,50\n2026-03-21T02:00:00Z,40\n"
"""Known for four hours: the last row holds for as long as the one before it."""


def short_trace(write, *, start="2026-03-21T00:00:00Z", hours=6, **power):
    """Return a run file of a site whose trace ends before the deadline."""
    site = {
        "signal": {"kind": "trace", "path": str(write(SHORT, "short.csv"))},
        "power": {"train_w": 1000.0, "idle_w": 50.0, **power},
    }
    return json.dumps(
        {
            "run": {"name": "short", "deadline_h": hours, "start": start},
            "sites": {"a": site},
            "clock": {"join_s": 100.0},
            "data": {"manifest": "none.json"},
        }
    )


@pytest.mark.parametrize("start", ["2026-03-21T00:00:00Z", "2026-03-20T23:00:00Z"])
@pytest.mark.parametrize("policy", ["threshold", "always", "work-price"])
@pytest.mark.parametrize("forecast", ["perfect", "history", "none"])
def test_a_site_is_off_where_nothing_is_known_of_it_whatever_the_policy(verb, write, start, policy, forecast):
    run = short_trace(write, start=start)
    day = facts(verb(run, "--policy", policy, "--forecast", forecast, "--json", "--work-h", "5"))
    assert not day["finished"]
    assert day["sites"]["a"]["unknown_kwh"] == 0.0
    assert 3.8 < day["work_h"] < 4.0


def test_where_nothing_is_known_of_a_site_is_told(verb, write):
    run = short_trace(write, start="2026-03-20T23:00:00Z")
    site = facts(verb(run, "--json"))["sites"]["a"]
    assert site["unknown"] == [[0.0, 3600.0], [5 * 3600.0, 6 * 3600.0]]
    assert site["unknown_at"][0] == ["2026-03-20T23:00:00+00:00", "2026-03-21T00:00:00+00:00"]
    lines = verb(run).splitlines()
    said = "a: nothing is known of its signal from {} to {} UTC; it is off then"
    assert said.format("03-20 23:00", "03-21 00:00") in lines
    assert said.format("03-21 04:00", "03-21 05:00") in lines
    whole = short_trace(write, hours=4)
    assert facts(verb(whole, "--json"))["sites"]["a"]["unknown"] == []
    assert "nothing is known" not in verb(whole)


LONG = "time,g_per_kwh\n" + "".join(
    f"2026-03-{20 + day}T{hour:02d}:00:00Z,{g}\n"
    for day in range(3)
    for hour, g in ((0, 50), (6, 300), (9, 50), (10, 300), (20, 50))
)
"""Green from 0 to 6, from 9 to 10 and from 20 on."""


def test_windows_of_several_days_have_dates_and_those_of_one_have_none(verb, write):
    path = str(write(LONG, "long.csv"))

    def run(hours):
        site = {"signal": {"kind": "trace", "path": path}, "power": {"train_w": 1.0, "idle_w": 0.1}}
        tree = {
            "run": {"name": "long", "deadline_h": hours, "start": "2026-03-20T05:00:00Z"},
            "sites": {"a": site},
            "policy": {"leave_delay_s": 0.0},
            "data": {"manifest": "none.json"},
        }
        return json.dumps(tree)

    lines = verb(run(60), "--work-h", "50").splitlines()
    assert next(line for line in lines if line.startswith("a ")).partition("%  ")[2].strip() == (
        "[03-20 05:00, 06:00) [09:00, 10:00) [20:00, 03-21 06:00) [09:00, 10:00) [20:00, 03-22 06:00) "
        "[09:00, 10:00)"
    )
    site = facts(verb(run(60), "--work-h", "50", "--json"))["sites"]["a"]
    assert site["windows_at"][2] == ["2026-03-20T20:00:00+00:00", "2026-03-21T06:00:00+00:00"]
    assert site["windows_utc"][2] == ["20:00", "06:00"]
    lines = verb(run(24), "--work-h", "50").splitlines()
    assert next(line for line in lines if line.startswith("a ")).endswith(
        "  [05:00, 06:00) [09:00, 10:00) [20:00, 05:00)"
    )


def test_a_start_in_local_time_is_told_in_utc(verb, write):
    site = facts(verb(short_trace(write, start="2026-03-21T02:00:00+01:00"), "--work-h", "1", "--json"))[
        "sites"
    ]["a"]
    assert site["windows_utc"][0][0] == "01:00"


@pytest.mark.parametrize("watts", [{"join_w": 0.0}, {"idle_w": 0.0}])
def test_a_site_may_draw_nothing_while_it_joins_and_its_trace_end_before_the_deadline(verb, write, watts):
    day = facts(verb(short_trace(write, **watts), "--work-h", "2", "--json"))
    assert day["oracle_kg"] == pytest.approx(2 * 0.04, rel=0.01)


def test_emissions_against_finish_time_are_told_where_a_trace_ends_before_the_deadline(verb, write):
    day = facts(verb(short_trace(write), "--pareto", "--work-h", "3", "--json"))
    assert len(day["pareto"]["optimum"]) == len(day["pareto"]["work-price"]) > 3


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_emissions_against_finish_time_are_told_and_drawn(simulate, tmp_path):
    picture = tmp_path / "day.png"
    text = simulate("--work-h", "12", "--set", "policy.poll_s=300", "--pareto", "--picture", str(picture))
    assert "emissions against finish time" in text
    assert "optimum, deadline 18.0 h" in text
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_run_s_own_threshold_comes_to_the_same_among_all_of_them(simulate):
    leaves_later = ("--set", "policy.leave_at_g_per_kwh=300", "--set", "policy.poll_s=300")
    day = facts(simulate("--work-h", "8", "--pareto", "--json", *leaves_later))
    own = [point for point in day["pareto"]["threshold"] if point["setting"] == 100.0]
    assert own == [{"finished_h": day["hours"], "emissions_kg": day["emissions_kg"], "setting": 100.0}]
    highest = day["pareto"]["threshold"][-1]["setting"]
    assert highest > 300
    alone = facts(
        simulate(
            "--work-h", "8", "--json", *leaves_later[2:], "--set", f"policy.threshold_g_per_kwh={highest}"
        )
    )
    assert day["pareto"]["threshold"][-1]["emissions_kg"] == pytest.approx(alone["emissions_kg"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--outage-h", "3", "2"), "--outage-h is 3 2; it must rise"),
        (("--drain-s", "-1"), r"drains take \[-1.0\] s"),
        (("--picture", "/nowhere/day.png"), "--picture /nowhere/day.png cannot be written"),
        (("--set", "policy.leave_at_g_per_kwh=50"), "at least policy.threshold_g_per_kwh, 100"),
        (("--set", "sites.texas.power.capped_w=900"), "power.capped_speed is None"),
    ],
)
def test_a_wrong_assumption_is_one_clear_line(simulate, arguments, says):
    with pytest.raises(UserError, match=says):
        simulate(*arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--work-h", "inf"), "argument --work-h: it is 'inf'; it must be a finite number"),
        (("--work-h", "abc"), "argument --work-h: it is 'abc'; it must be a finite number"),
        (("--drain-s", "1", "nan"), "argument --drain-s: it is 'nan'; it must be a finite number"),
        (("--outage-h", "0", "inf"), "argument --outage-h: it is 'inf'; it must be a finite number"),
        (("--tokens-per-second", "inf"), "argument --tokens-per-second: it is 'inf'"),
        (("--start-fails", "nan"), "argument --start-fails: it is 'nan'"),
        (("--join-spread", "2000"), "the spread of starts is 2000; it must be in [0, 10]"),
        (("--set", "clock.join_s=.inf"), "clock.join_s is inf; it must be a finite number"),
        (("--set", "sites.s60.power.train_w=.inf"), "sites.s60.power.train_w is inf; it must be a finite"),
    ],
)
def test_a_number_that_is_not_one_is_the_user_s_error(write, capsys, arguments, says):
    run = write(constant_sites([60.0], hours=4.0, threshold_g_per_kwh=100.0), "run.yaml")
    assert main(["simulate", "--config", str(run), *arguments]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_the_footprint_is_told_per_million_tokens_and_what_it_leaves_out(simulate):
    plain = facts(simulate("--work-h", "2", "--tokens-per-second", "1000", "--json"))
    found = plain["footprint"]
    assert found["marginal_kg"] == pytest.approx(plain["emissions_kg"])
    assert found["marginal_g_per_mtok"] == pytest.approx(1000 * plain["emissions_kg"] / 7.2)
    assert (found["average_kg"], found["embodied_kg"]) == (None, None)
    text = simulate("--work-h", "2")
    assert "SCI per million tokens unknown: no tokens are counted; give --tokens-per-second" in text
    assert "- Embodied carbon of the hardware is not counted: footprint.embodied_kg is not given." in text


def test_pue_embodied_carbon_and_average_intensity_count_where_they_are_given(simulate):
    plain = facts(simulate("--work-h", "2", "--json"))
    sets = [
        f"sites.{site}.{key}"
        for site in ("california", "texas", "south-australia")
        for key in (
            "footprint={pue: 1.5, embodied_kg: 100, lifetime_h: 1000}",
            "average={kind: constant, value: 300}",
        )
    ]
    found = facts(simulate("--work-h", "2", "--json", *(word for one in sets for word in ("--set", one))))
    assert found["emissions_kg"] == pytest.approx(1.5 * plain["emissions_kg"])
    assert found["oracle_kg"] == pytest.approx(1.5 * plain["oracle_kg"])
    mark = found["footprint"]
    assert mark["average_kg"] == pytest.approx(mark["energy_kwh"] * 0.3)
    assert mark["embodied_kg"] == pytest.approx(100 * (2 + 345 / 3600) / 1000, rel=1e-6)


def test_five_sites_have_the_optimum_of_the_cleanest_and_more_time_does_not_make_it_worse(verb):
    run = constant_sites([60.0, 80.0, 100.0, 120.0, 140.0], hours=8.0, threshold_g_per_kwh=70.0)
    day = facts(verb(run, "--work-h", "3", "--pareto", "--json", "--set", "policy.poll_s=300"))
    assert day["emissions_kg"] == pytest.approx(0.06 * (3 * 2.0 + 0.4 * 345 / 3600))
    assert day["oracle_kg"] <= day["emissions_kg"]
    assert day["oracle_exact"]
    assert 0.95 < day["oracle_multiple"] <= 1.0  # the policy stops within a slot
    optimum = [point["emissions_kg"] for point in day["pareto"]["optimum"]]
    assert len(optimum) > 3
    assert optimum == sorted(optimum, reverse=True)


@pytest.mark.parametrize("g_per_kwh", [88.8, 23.1, 37.3, 61.7])
def test_no_share_is_told_of_a_saving_that_was_not_possible(verb, g_per_kwh):
    run = json.loads(constant_sites([g_per_kwh], hours=7.3, threshold_g_per_kwh=500.0))
    run["clock"]["join_s"] = 0.0
    run["sites"] = dict.fromkeys("ab", run["sites"].popitem()[1])
    for site in run["sites"].values():
        site["power"]["train_w"] = 733.0
    assert facts(verb(json.dumps(run), "--json"))["oracle_fraction"] is None
    assert "possible saving" not in verb(json.dumps(run))


def test_a_saving_too_small_to_be_resolved_is_told_in_words(verb):
    run = constant_sites([60.0, 64.0], hours=4.0, threshold_g_per_kwh=500.0)
    day = facts(verb(run, "--work-h", "3", "--json"))
    assert 0 < day["possible_saving_kg"] < day["resolvable_saving_kg"]
    text = verb(run, "--work-h", "3")
    assert "is too small for a share of it to be told" in text
    assert "% of the possible saving" not in text


def test_the_text_says_that_an_optimum_is_not_known_to_be_the_cheapest_and_what_none_undercuts(verb):
    run = constant_sites(
        [60.0 + site for site in range(8)], hours=4.0, threshold_g_per_kwh=500.0, pair_efficiency=0.8
    )
    day = facts(verb(run, "--work-h", "16", "--json"))
    assert not day["oracle_exact"]
    said = (
        "the best schedule found, not known to be the cheapest: none on slots of 300 s emits less than "
        f"{day['oracle_kg']:.3f} kg, if no site ever waited for another"
    )
    assert said in verb(run, "--work-h", "16")
    exact = constant_sites([60.0, 80.0], hours=4.0, threshold_g_per_kwh=70.0)
    assert "the best schedule found" not in verb(exact, "--work-h", "3")


def test_where_rows_of_a_trace_are_missing_is_told(verb, write):
    rows = "".join(
        f"2026-03-21T{minute // 60:02d}:{minute % 60:02d}:00Z,50\n"
        for minute in range(0, 480, 5)
        if not 60 < minute < 180 and minute not in (300, 400)
    )
    run = short_trace(write)
    write("time,g_per_kwh\n" + rows, "short.csv")
    (note,) = facts(verb(run, "--json", "--work-h", "1"))["notes"]
    assert note == (
        "a: rows of its trace are missing from 2026-03-21T01:05:00+00:00 to 2026-03-21T03:00:00+00:00, from "
        "2026-03-21T05:00:00+00:00 to 2026-03-21T05:05:00+00:00; the value before is taken to hold until the "
        "next"
    )


def test_what_a_single_site_does_not_count_is_told_with_its_name(simulate):
    known = ("--set", "sites.texas.footprint={pue: 1.2, embodied_kg: 10, lifetime_h: 100}")
    said = facts(simulate(*known, "--work-h", "1", "--json"))["footprint"]["not_counted"]
    assert (
        "california, south-australia: Embodied carbon of the hardware is not counted: "
        "footprint.embodied_kg is not given." in said
    )
    assert any(sentence.startswith("Location-based average emissions are unknown: ") for sentence in said)


def test_a_window_is_told_as_a_value_whatever_the_policy(simulate):
    text = simulate("--policy", "always", "--work-h", "1", "--set", "policy.threshold_g_per_kwh=70")
    assert "of it at or above 70 g/kWh, out of windows\n" in text


@pytest.mark.parametrize("start", ["12:00:00", "12:02:30", "12:04:10"])
def test_a_work_price_takes_the_rows_of_a_trace_whenever_a_run_starts_between_two(verb, tmp_path, start):
    begin = datetime(2026, 3, 21, tzinfo=UTC)
    for name, ahead in {"one": 0, "other": 2}.items():
        values = [50 if (row + ahead) // 4 % 2 == 0 else 400 for row in range(3 * 96)]
        rows = [f"{(begin + timedelta(minutes=15 * row)).isoformat()},{v}" for row, v in enumerate(values)]
        (tmp_path / f"{name}.csv").write_text("time,g_per_kwh\n" + "\n".join(rows) + "\n")
    power = {"train_w": 1000.0, "idle_w": 100.0}
    tree = {
        "run": {"name": "squares", "deadline_h": 24.0, "start": f"2026-03-21T{start}+00:00"},
        "policy": {"kind": "work-price"},
        "data": {"manifest": "none.json"},
        "sites": {
            name: {"signal": {"kind": "trace", "path": f"{name}.csv"}, "power": power}
            for name in ("one", "other")
        },
    }
    day = facts(verb(json.dumps(tree), "--work-h", "8", "--forecast", "history", "--json"))
    assert day["oracle_schedule_kg"] == pytest.approx(0.4)
    assert day["oracle_multiple"] < 1.15
