"""The same played day, accounted for by Vessim and by us."""

from dataclasses import replace
from pathlib import Path

import pytest
import vessim
from curtail_launch.demo.day import START, write_day
from playing import play

from curtail_dist.config.microgrid import MicrogridConfig, ProductionConfig, StorageConfig
from curtail_dist.energy.course import Rhythm
from curtail_dist.energy.emissions import Interval, PowerModel, account
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_trace
from curtail_dist.energy.vessim import Flow, Scenario, drawn, grid_import, played
from curtail_dist.energy.vessim.scenario import CARBON

UNTIL = 18 * 3600.0
STEP_S = 10
"""Every change of the played day falls on a tick of so many seconds."""
POWER = PowerModel(train_w=2024.0, idle_w=468.0, join_w=500.5, sync_w=777.7)
ON = {
    "california": [(300.0, 8100.0), (8400.0, 23700.0)],
    "texas": [(7000.0, 9500.0), (36300.0, 62100.0)],
    "south-australia": [(16800.0, 55200.0)],
}
EXACT = 1e-9


def close(value):
    return pytest.approx(value, rel=EXACT, abs=0.0)


@pytest.fixture(scope="module")
def day():
    """What each site did: joined, trained, exchanged, idled an hour after its last window."""
    rhythm = Rhythm(train_s=510.0, sync_s=140.0, join_s=240.0)
    done = play(ON, work_s=1e9, rhythm=rhythm).intervals
    return {
        site: [*found, Interval(start=ON[site][-1][1], stop=ON[site][-1][1] + 1200.0, phase="idle")]
        for site, found in done.items()
    }


@pytest.fixture
def traces(tmp_path):
    return {site: read_trace(path).series(START) for site, path in write_day(tmp_path).items()}


SUN = StepFunction(
    edges=(-3600.0, 3600.0, 7210.0, 20000.0, 30000.0, 50000.0, 80000.0),
    values=(333.3, 1500.1, 2500.7, 0.0, 1800.9, 123.4),
)


def scenario(intensity, production=None, **config):
    made = None if production is None else ProductionConfig(path=Path("sun.csv"))
    given = {"train_w": 2024.0, "measure": "intensity", "production": made, "step_s": STEP_S, **config}
    return Scenario.between("site", MicrogridConfig(**given), intensity, production)


def by_vessim(scenario, intervals):
    """Run Vessim's own simulation, recorder and metric; return what they say of the site's microgrid."""
    consumer = played(drawn(intervals, POWER, scenario.begin, UNTIL), label="phases")
    study = scenario.environment(consumer, start=START)
    metric = vessim.GridImportEmissions("site", CARBON)
    recorder = study.add_controller(vessim.Recorder(timeseries=False, custom_metrics={"kg": metric}))
    result = study.run(until=UNTIL - scenario.begin)
    return recorder.metrics["microgrids"]["site"], result.states["site"]


def test_a_site_on_the_grid_alone_emits_what_vessim_says(day, traces):
    for site, intervals in day.items():
        assert {interval.phase for interval in intervals} == {"join", "train", "sync", "idle"}
        alone = scenario(traces[site])
        ours = account(intervals, POWER, alone.intensity)
        theirs, _ = by_vessim(alone, intervals)
        assert ours.emissions_kg > 0.5
        assert ours.emissions_kg == close(theirs["kg"])
        assert ours.total_kwh == close(theirs["grid_import"] / 1000)
        imports = grid_import(alone, intervals, POWER, UNTIL)
        assert imports.emissions_kg == close(ours.emissions_kg)
        assert imports.exported_kwh == 0.0


def test_imports_beside_production_and_other_load_are_what_vessim_says(day, traces):
    for site, intervals in day.items():
        sunny = scenario(traces[site], SUN, base_load_w=321.0)
        theirs, _ = by_vessim(sunny, intervals)
        ours = grid_import(sunny, intervals, POWER, UNTIL)
        assert ours.exported_kwh > 1
        assert ours.imported_kwh > 1
        assert ours.emissions_kg == close(theirs["kg"])
        assert ours.imported_kwh == close(theirs["grid_import"] / 1000)
        assert ours.exported_kwh == close(theirs["grid_export"] / 1000)


def test_export_is_not_credited_and_the_plain_account_knows_no_production(day, traces):
    intervals, series = day["california"], traces["california"]
    plain = account(intervals, POWER, series).emissions_kg
    much = StepFunction(edges=(0.0, 80000.0), values=(1e6,))
    assert grid_import(scenario(series, much), intervals, POWER, UNTIL).emissions_kg == 0.0
    assert 0 < grid_import(scenario(series, SUN), intervals, POWER, UNTIL).emissions_kg < plain


def test_a_battery_s_imports_in_vessim_are_those_of_a_plain_one(day, traces):
    """No accounting of ours has a battery: this keeps Vessim's, with our limits, to what we say of it."""
    storage = StorageConfig(
        capacity_wh=3000.0,
        initial_soc=0.5,
        min_soc=0.2,
        max_soc=0.9,
        max_charge_w=700.0,
        max_discharge_w=900.0,
    )
    stored = scenario(traces["california"], SUN, storage=storage)
    intervals = day["california"]
    theirs, state = by_vessim(stored, intervals)
    draw = drawn(intervals, POWER, 0.0, UNTIL)
    charge, grams = 1500.0 * 3600, 0.0
    for at in range(0, int(UNTIL), STEP_S):
        net = SUN.at(at) - draw.at(at)
        low = -min(900.0, max(0.0, charge - 600.0 * 3600) / STEP_S)
        high = min(700.0, max(0.0, 2700.0 * 3600 - charge) / STEP_S)
        flow = min(max(net, low), high)
        charge += flow * STEP_S
        grams += max(0.0, flow - net) * STEP_S / 3.6e6 * stored.intensity.at(at)
    assert theirs["kg"] == pytest.approx(grams / 1000, rel=1e-9)
    assert state["dispatch_states"]["battery"]["charge_level"] * 3600 == pytest.approx(charge, rel=1e-9)


def test_a_flow_ends_where_vessim_s_own_simulation_does(day, traces):
    storage = StorageConfig(capacity_wh=3000.0, initial_soc=0.5, max_charge_w=700.0, sustain_s=3600.0)
    stored = scenario(traces["texas"], SUN, storage=storage)
    _, state = by_vessim(stored, day["texas"])
    consumer = played(drawn(day["texas"], POWER, stored.begin, stored.end), label="phases")
    flow = Flow(stored, consumer, stored.battery())
    for moment in (17.0, 5000.0, 43210.0, UNTIL):
        flow.advance(moment)
    level = state["dispatch_states"]["battery"]["charge_level"]
    assert level > 10
    assert flow.stored_w() == close(level)  # Wh for an hour


def test_the_draw_is_the_phases_and_off_between():
    def interval(start, stop, phase):
        return Interval(start=start, stop=stop, phase=phase)

    did = [interval(20.0, 30.0, "train"), interval(10.0, 20.0, "join"), interval(50.0, 99.0, "parked")]
    draw = drawn(did, POWER, 0.0, 60.0)
    assert draw.edges == (0.0, 10.0, 20.0, 30.0, 50.0, 60.0)
    assert draw.values == (0.0, 500.5, 2024.0, 0.0, 468.0)
    assert drawn(did, POWER, 15.0, 25.0).points() == [(15.0, 500.5), (20.0, 2024.0), (25.0, 2024.0)]
    assert drawn([], POWER, 0.0, 60.0).points() == [(0.0, 0.0), (60.0, 0.0)]
    with pytest.raises(ValueError, match="one phase at a time"):
        drawn([*did, interval(25.0, 35.0, "idle")], POWER, 0.0, 60.0)


def test_imports_that_cannot_be_reckoned_are_refused(traces):
    storage = StorageConfig(capacity_wh=1.0, initial_soc=0.0)
    alone = scenario(traces["texas"])
    for refused, until in (
        (scenario(traces["texas"], SUN, storage=storage), UNTIL),
        (alone, alone.end + 1),
        (alone, 0.0),
    ):
        with pytest.raises(ValueError, match="must have no battery"):
            grid_import(refused, [], POWER, until)


def test_an_off_tick_change_is_where_vessim_and_the_exact_account_part(day, traces):
    coarse = scenario(traces["california"], step_s=3600)
    theirs, _ = by_vessim(coarse, day["california"])
    ours = account(day["california"], POWER, coarse.intensity)
    assert ours.emissions_kg != pytest.approx(theirs["kg"], rel=1e-3)
    assert replace(coarse.config, step_s=STEP_S) == scenario(traces["california"]).config
