"""What the pictures show: the optimum beside the run, causes, finish times, and labels that can be read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from drawntexts import outside, overlapping, texts
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from metered import OUTLOOK, STARTED, energies, write_metered

from curtail_dist.energy.emissions import Grid, Interval, PowerModel, SiteEnergy, account
from curtail_dist.energy.oracle import Optimum
from curtail_dist.energy.pareto import Point
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.report.accounts import Accounts, reckon
from curtail_dist.report.curves import cumulative_schedule
from curtail_dist.report.frontier import frontier
from curtail_dist.report.history import History, build_history
from curtail_dist.report.panels import apart, causes_panel, tradeoff_panel
from curtail_dist.report.picture import compose
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import read_events

COLOURS = {"a": "#0072b2", "b": "#d55e00"}
HOUR = 3600.0


@pytest.fixture(scope="session")
def reckoned(written_day: Path) -> tuple[History, Accounts]:
    history = build_history(read_events(written_day))
    return history, reckon(history)


@pytest.fixture(scope="session")
def best(reckoned: tuple[History, Accounts]) -> list[Point]:
    return frontier(*reckoned)


@pytest.fixture
def axes() -> Axes:
    figure = Figure(figsize=(4.0, 3.0), dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def test_dollar_signs_in_names_are_no_formula(reckoned: tuple[History, Accounts], best: list[Point]):
    history, accounts = reckoned
    odd = r"a $\frac$ b"
    found = {**accounts.baselines, odd: accounts.baselines["texas"]}
    figure = compose(
        replace(history, run=odd),
        replace(accounts, baselines=found),
        others={odd: history.evaluated},
        best=best,
    )
    figure.canvas.draw()
    assert odd in " ".join(text.get_text() for text in texts(figure))


@pytest.mark.parametrize("days", [1.5, 7.0, 40.0])
def test_a_picture_of_several_days_says_which_day_each_hour_is_of(
    reckoned: tuple[History, Accounts], days: float
):
    history, accounts = reckoned
    sites = {name: replace(site, deadline_s=days * 24 * HOUR) for name, site in history.sites.items()}
    figure = compose(replace(history, sites=sites), accounts)
    assert overlapping(figure) == []
    axes = next(axes for axes in figure.axes if "kg CO2 so far" in axes.get_ylabel())
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) > 4 and len(set(labels)) == len(labels)
    assert "21 Mar 17:00" in labels


def test_no_text_of_a_days_picture_covers_another_or_leaves_it(
    reckoned: tuple[History, Accounts], best: list[Point]
):
    figure = compose(*reckoned, best=best)
    assert tuple(figure.get_size_inches() * figure.dpi) == pytest.approx((1400, 1340))
    assert overlapping(figure) == []
    assert outside(figure) == []
    shown = " ".join(text.get_text() for text in texts(figure))
    for words in ("x the optimum", "  optimum", "  this run", "By cause", "Against finish time"):
        assert words in shown


def test_a_run_of_one_site_with_a_meter_is_drawn_readably(tmp_path: Path):
    """Its held-out losses were evaluated at the very start, and twice within a minute."""
    evaluated = [(t, ev.Evaluated(version=1, val_bpb=t / 1e4)) for t in (1.0, 7140.0, 7190.0)]
    history = build_history(read_events(write_metered(tmp_path / "run", agent=[*energies(), *evaluated])))
    accounts = reckon(history)
    figure = compose(history, accounts, best=frontier(history, accounts))
    shown = [text.get_text() for text in texts(figure)]
    assert "0.72" in shown and "0.71" not in shown
    assert f"{accounts.sites['texas'].metered_share:.0%} measured" in " ".join(shown)
    assert overlapping(figure) == []
    assert outside(figure) == []


def run_of_many(
    directory: Path, names: tuple[str, ...], agent: Sequence[tuple[float, ev.Event]] = ()
) -> Path:
    """Write a run of texas and of further sites that did the same."""
    longer = replace(STARTED, outlook=[*OUTLOOK[:-1], (24 * HOUR, 300.0)])
    run = write_metered(directory, started=longer, agent=agent)
    file = run / "events" / "texas.agent.1.jsonl"
    for name in names:
        told = [line for line in file.read_text().splitlines() if "run_started" not in line]
        text = "\n".join(told).replace('"site": "texas"', f'"site": "{name}"')
        (file.parent / f"{name}.agent.1.jsonl").write_text(text + "\n")
    return run


def test_a_run_of_seven_sites_is_drawn_readably(tmp_path: Path):
    run = run_of_many(tmp_path / "run", ("ohio", "kansas", "iowa", "utah", "maine", "idaho"))
    history = build_history(read_events(run))
    assert len(history.sites) == 7
    accounts = reckon(history)
    assert accounts.optimum is not None and accounts.optimum.exact
    figure = compose(history, accounts)
    assert overlapping(figure) == []
    assert outside(figure) == []
    shown = [text.get_text() for text in texts(figure)]
    assert len([text for text in shown if text.endswith("always on") and "  " in text]) == 2


def test_an_optimum_far_above_its_bound_is_noted(tmp_path: Path):
    exchanges = [(4600.0, ev.Phase(phase="sync")), (7000.0, ev.Phase(phase="train"))]
    names = ("ohio", "kansas", "iowa", "utah", "maine", "idaho", "nevada")
    accounts = reckon(build_history(read_events(run_of_many(tmp_path / "run", names, exchanges))))
    assert accounts.optimum is not None and not accounts.optimum.exact
    assert any("may not be the best one" in note for note in accounts.notes)


def test_the_optimums_curve_ends_at_what_its_schedule_emits(reckoned: tuple[History, Accounts]):
    history, accounts = reckoned
    assert accounts.optimum is not None
    grids = {name: site.grid for name, site in history.sites.items()}
    curve = cumulative_schedule(accounts.optimum, grids, join_s=accounts.join_s, end=18 * HOUR)
    assert curve.kg[-1] == pytest.approx(accounts.optimum.schedule_kg, rel=0.01)
    assert all(later >= earlier for earlier, later in pairwise(curve.kg))


def test_in_the_optimums_curve_sites_that_train_together_exchange():
    flat = StepFunction(edges=(0.0, 4 * HOUR), values=(100.0,))
    power = PowerModel(train_w=2000.0, idle_w=400.0, join_w=400.0, sync_w=1000.0)
    found = Optimum(
        emissions_kg=0.0,
        schedule={"a": [(0.0, 2 * HOUR)], "b": [(HOUR, 3 * HOUR)]},
        schedule_kg=0.0,
        schedule_work_s=0.0,
        exact=True,
        pair_efficiency=0.75,
    )
    grid = Grid(intensity=flat, power=power)
    curve = cumulative_schedule(found, {"a": grid, "b": grid}, join_s=HOUR / 2, end=4 * HOUR)
    joining, alone, together = 2 * 0.5 * 0.4, 2 * 1.0 * 2.0, 2 * 0.5 * (0.75 * 2.0 + 0.25 * 1.0)
    assert curve.kg[-1] == pytest.approx((joining + alone + together) * 0.1)


def test_more_time_never_costs_more_and_the_runs_own_hour_is_among_the_deadlines(
    reckoned: tuple[History, Accounts], best: list[Point]
):
    history, accounts = reckoned
    assert [point.setting for point in best] == sorted(point.setting for point in best)
    assert all(later.emissions_kg < earlier.emissions_kg * 1.001 for earlier, later in pairwise(best))
    assert all(point.finished_h <= point.setting + 1e-9 for point in best)
    assert best[-1].emissions_kg == accounts.oracle_schedule_kg
    in_time = next(point for point in best if point.setting == pytest.approx(history.stop / HOUR))
    assert in_time.emissions_kg < accounts.emissions_kg * 1.001


def test_where_the_work_does_not_fit_there_is_nothing_to_draw(tmp_path: Path):
    run = write_metered(tmp_path / "run")
    file = run / "events" / "texas.agent.1.jsonl"
    file.write_text(file.read_text().replace('"deadline_s": 7200.0', '"deadline_s": 3600.0'))
    history = build_history(read_events(run))
    accounts = reckon(history)
    assert frontier(history, accounts) == []
    assert compose(history, accounts, best=[]).axes


def emitted(train_s: float, *, idle_s: float = 0.0) -> SiteEnergy:
    """Emissions above the threshold from 5400 s on, and the first half an hour thrown away."""
    phases = [Interval(start=0.0, stop=train_s, phase="train")]
    phases += [Interval(start=train_s, stop=train_s + idle_s, phase="idle")] if idle_s else []
    power = PowerModel(train_w=2000.0, idle_w=500.0, join_w=500.0, sync_w=500.0)
    intensity = StepFunction.from_points(OUTLOOK)
    return account(phases, power, intensity, threshold=100.0, wasted=[(0.0, 1800.0)])


def bars(axes: Axes) -> Mapping[str, tuple[float, int]]:
    """Length of each bar, and of how many sites it is, by label."""
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    found: dict[str, tuple[float, int]] = {}
    for patch in axes.patches:
        label = labels[round(patch.get_y() + patch.get_height() / 2)]  # type: ignore[attr-defined]
        length, count = found.get(label, (0.0, 0))
        found[label] = (length + patch.get_width(), count + 1)  # type: ignore[attr-defined]
    return found


def test_bars_by_cause_hold_what_the_sites_emitted_and_parts_stand_apart(axes: Axes):
    sites = {"a": emitted(7200.0), "b": emitted(3600.0, idle_s=1800.0)}
    causes_panel(axes, sites, COLOURS)
    found = bars(axes)
    assert set(found) == {"training", "idle", "leave delay", "thrown away"}
    whole = sum(site.emissions_kg for site in sites.values())
    assert found["training"][0] + found["idle"][0] == pytest.approx(whole)
    assert found["leave delay"][0] == pytest.approx(2.0 * 0.5 * 0.3)
    assert found["thrown away"] == (pytest.approx(2 * 2.0 * 0.5 * 0.05), 2)
    assert {patch.get_hatch() for patch in axes.patches[:4]} == {None}


def test_finish_times_are_drawn_with_names_that_do_not_cover_each_other(axes: Axes):
    def at(finished_h: float, emissions_kg: float) -> Point:
        return Point(finished_h=finished_h, emissions_kg=emissions_kg, setting=0.0)

    marks = {"this run": at(12.0, 1.1), "one": at(16.0, 8.2), "other": at(16.0, 8.1), "pair": at(8.0, 5.0)}
    tradeoff_panel(axes, {"optimum": [at(7.0, 6.0), at(12.0, 1.1), at(16.0, 0.8)], "none": []}, marks, {})
    figure = axes.figure
    assert isinstance(figure, Figure)
    assert overlapping(figure) == []
    shown = [text.get_text() for text in texts(figure)]
    for label in ("1.10  this run", "8.20  one", "8.10  other", "5.00  pair", "0.80  optimum"):
        assert label in shown
    assert axes.get_yscale() == "log"


def test_a_label_that_reaches_to_the_next_mark_does_not_cover_its_label(axes: Axes):
    marks = {
        name: Point(finished_h=hour, emissions_kg=5.0, setting=0.0)
        for name, hour in (("california + texas", 5.0), ("texas", 8.0), ("end", 15.0))
    }
    tradeoff_panel(axes, {}, marks, {})
    figure = axes.figure
    assert isinstance(figure, Figure)
    assert overlapping(figure) == []


def test_emissions_that_hardly_differ_or_are_none_are_drawn_from_zero(axes: Axes):
    points = [Point(finished_h=h, emissions_kg=kg, setting=0.0) for h, kg in ((1.0, 0.0), (2.0, 0.0))]
    tradeoff_panel(axes, {"optimum": points}, {}, {})
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


@given(st.lists(st.floats(0, 1), max_size=9))
def test_labels_are_apart_in_their_order_and_within_the_panel(places):
    moved = apart(places, 0.1)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(moved[b] - moved[a] >= 0.1 - 1e-9 for a, b in pairwise(order))
    assert all(-1e-9 <= height <= 1.0 + 1e-9 for height in moved)
    if all(b - a >= 0.1 for a, b in pairwise(sorted(places))):
        assert moved == pytest.approx(places)
