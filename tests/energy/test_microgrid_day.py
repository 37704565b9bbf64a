"""A simulated day at a microgrid with a battery: as green as what its site did before has left it."""

import random

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.cli.site import check_opens
from curtail_dist.config import RunConfig
from curtail_dist.energy import Reading, build_policy, open_signal
from curtail_dist.energy.emissions import Interval, PowerModel
from curtail_dist.energy.freshness import Sighting
from curtail_dist.energy.policy import PolicyMemory
from curtail_dist.energy.responsive import Responsive, fed_power
from curtail_dist.energy.scene import Assumptions
from curtail_dist.energy.simulation import simulate
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError

HOUR, POLL_S, HOURS = 3600.0, 60.0, 12
TRAIN_W, GRID_G, SUN_G = 2000.0, 400.0, 20.0
STORAGE = {"capacity_wh": 5000.0, "initial_soc": 0.0}


@pytest.fixture
def day(tmp_path):
    """A site whose sun gives a third of what it trains with, and fills its battery while it is off."""
    rows = ["2026-03-21T00:00:00Z,{}", "2026-03-21T12:00:00Z,{}"]
    for name, header, value in (("grid", "time,g_per_kwh", GRID_G), ("sun", "time,watts", 1000.0)):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *(row.format(value) for row in rows)]))

    def _day(storage=STORAGE, **policy):
        microgrid = {
            "train_w": TRAIN_W,
            "base_load_w": 300.0,
            "production": {"path": "sun.csv", "g_per_kwh": SUN_G},
            "storage": storage,
        }
        site = {
            "signal": {"kind": "vessim", "path": "grid.csv", "microgrid": microgrid},
            "power": {"train_w": TRAIN_W, "idle_w": 100.0, "sync_w": 500.0},
        }
        tree = {
            "run": {"name": "day", "start": "2026-03-21T00:00:00Z", "deadline_h": HOURS},
            "data": {"manifest": "none.json"},
            "policy": {"leave_delay_s": 0.0, "poll_s": POLL_S, **policy},
            "sites": {"a": site},
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
        return RunConfig.from_yaml(tmp_path / "run.yaml")

    return _day


def opened(config, clock):
    return open_signal(config.sites["a"].signal, clock=clock, start=config.run.start, site="a")


def lived(config, clock):
    """Return the readings of each poll, and whether the site was on then, as an agent has them."""
    signal, rule = opened(config, clock), build_policy(config.policy)
    running, memory, seen = False, PolicyMemory(), []
    for poll in range(int(HOURS * HOUR / POLL_S)):
        clock.at = poll * POLL_S
        signal.feed(TRAIN_W if running else 0.0)
        reading = Sighting(reading=signal.latest(), renewed_at=clock.at).reading
        decision, memory = rule.decide(memory, running=running, reading=reading, now=clock.at)
        running = {"start": True, "drain": False, "keep": running}[decision.action]
        signal.feed(TRAIN_W if running else 0.0)
        seen.append((reading.value, running))
    return seen


def windows(seen):
    """Return the on-periods of a site that was on, or not, from each poll on."""
    spans, since = [], None
    for poll, on in enumerate([*(on for _, on in seen), False]):
        if on and since is None:
            since = poll * POLL_S
        elif not on and since is not None:
            spans.append((since, poll * POLL_S))
            since = None
    return spans


@pytest.mark.parametrize("leave_at", [100.0, 200.0])
def test_a_simulation_has_the_site_on_when_its_agent_would_and_counts_what_that_reads(day, clock, leave_at):
    config = day(threshold_g_per_kwh=100.0, leave_at_g_per_kwh=leave_at)
    seen = lived(config, clock)
    result = simulate(config)
    assert result.windows["a"] == windows(seen)
    assert result.played.work_s > 3 * HOUR
    grams = sum(value * TRAIN_W * POLL_S / 3.6e6 for value, on in seen if on)
    assert result.emissions_kg == pytest.approx(grams / 1000)
    assert all(
        event.g_per_kwh == seen[int(event.t / POLL_S)][0] for event in result.events if event.g_per_kwh
    )


def test_what_is_read_during_an_outage_is_what_was_read_before_it(day):
    config = day(threshold_g_per_kwh=150.0, max_age_s=900.0)
    result = simulate(config, Assumptions(outage=(2 * HOUR, 4 * HOUR)))
    assert not [event for event in result.events if 2 * HOUR <= event.t < 4 * HOUR and event.what == "join"]
    gone = simulate(day(threshold_g_per_kwh=300.0), Assumptions(outage=(HOUR, 4 * HOUR)))
    drained = next(event for event in gone.events if event.what == "drain")
    assert (drained.t, drained.g_per_kwh) == (HOUR + 900.0, None)


def test_a_site_that_is_always_on_finds_what_the_baseline_does(day):
    result = simulate(day(kind="always"))
    assert result.emissions_kg == pytest.approx(result.baselines["a"].emissions_kg)
    assert result.emissions_kg == pytest.approx(12 * 2.0 * (0.65 * GRID_G + 0.35 * SUN_G) / 1000)


def test_a_threshold_is_refused_only_where_a_full_battery_does_not_help(day):
    check_opens(day(threshold_g_per_kwh=100.0))
    lowest = r"policy.threshold_g_per_kwh is 15; the lowest intensity of any site is 20 \(a\)"
    with pytest.raises(ConfigError, match=lowest):
        check_opens(day(threshold_g_per_kwh=15.0))
    with pytest.raises(ConfigError, match=lowest):
        simulate(day(threshold_g_per_kwh=15.0))
    with pytest.raises(ConfigError, match=r"the lowest intensity of any site is 267 \(a\)"):
        simulate(day(storage=None, threshold_g_per_kwh=100.0))


def test_the_optimum_of_a_battery_is_a_bound_and_is_said_to_be_one(day, capsys, tmp_path):
    config = day(threshold_g_per_kwh=100.0)
    result = simulate(config)
    assert result.oracle is not None
    assert not result.oracle.exact
    assert result.oracle.emissions_kg <= result.emissions_kg
    assert main(["simulate", "--config", str(tmp_path / "run.yaml")]) == 0
    assert "\nnote: a: what its battery holds depends on what the site did before" in capsys.readouterr().out
    day(storage=None, threshold_g_per_kwh=300.0)
    assert main(["simulate", "--config", str(tmp_path / "run.yaml")]) == 0
    assert "battery" not in capsys.readouterr().out


def test_a_plan_that_sees_the_battery_fill_waits_for_it(day):
    given = Assumptions(work_s=2 * HOUR, forecast="none")
    config = day(kind="work-price", replan_s=600.0, commitment_s=0.0)
    blind = simulate(config, given)
    sees = simulate(config, Assumptions(work_s=2 * HOUR, forecast="perfect"))
    assert blind.windows["a"][0][0] == 0.0
    assert sees.played.work_s == blind.played.work_s == 2 * HOUR
    assert sees.windows["a"][0][0] > HOUR
    assert sees.emissions_kg < blind.emissions_kg


def test_a_plan_sees_what_the_site_reads_and_not_what_one_that_trains_would(day):
    config = day(kind="work-price", replan_s=600.0, commitment_s=0.0)
    result = simulate(config, Assumptions(work_s=2 * HOUR, forecast="none"))
    assert {event.g_per_kwh for event in result.events if event.what == "join"} == {267.0}


@pytest.mark.parametrize("seed", range(5))
def test_a_series_is_what_a_signal_says_that_is_fed_the_same_and_never_greener_than_can_be(day, clock, seed):
    """Phases that begin between ticks, and a site that draws more than it trains with."""
    draw = random.Random(seed)
    storage = {"capacity_wh": 3000.0, "initial_soc": 0.4, "min_soc": 0.1, "max_discharge_w": 1500.0}
    signal = opened(day(storage=storage), clock)
    assert isinstance(signal, Responsive)
    power = PowerModel(train_w=TRAIN_W, idle_w=TRAIN_W, join_w=2600.0 if seed == 4 else 900.0, sync_w=TRAIN_W)
    edges = sorted({0.0, *(draw.uniform(0.0, 11 * HOUR) for _ in range(12))})
    phases = [draw.choice(["off", "join", "train", "sync"]) for _ in edges]
    stops = [*edges[1:], HOURS * HOUR]
    did = [Interval(start=a, stop=b, phase=p) for a, b, p in zip(edges, stops, phases, strict=True)]
    series = signal.drawing([one for one in did if one.phase != "off"], power, HOURS * HOUR)
    least = signal.greenest(HOURS * HOUR)
    asked = sorted({*edges, *(draw.uniform(0.0, HOURS * HOUR - 1.0) for _ in range(200))})
    fed = dict(zip(edges, phases, strict=True))
    for clock.at in asked:
        if clock.at in fed:
            signal.feed(power.watts(fed[clock.at]))
        said: Reading = signal.latest()
        assert series.at(clock.at) == pytest.approx(said.value)
        assert least.at(clock.at) <= said.value + 1e-9


def test_going_on_is_what_comes_if_the_site_draws_on_as_it_does(day, clock):
    signal = opened(day(), clock)
    clock.at = 1800.0
    signal.feed(0.0)
    ahead = signal.going_on(99 * HOUR)
    assert (ahead.start, ahead.end) == (1800.0, 24 * HOUR)
    for clock.at in (1800.0, HOUR, 5 * HOUR + 30.0):
        assert signal.latest().value == pytest.approx(ahead.at(clock.at))
    assert StepFunction.from_points(signal.outlook(24 * HOUR)).at(6 * HOUR) > ahead.at(6 * HOUR)


def test_what_is_fed_is_the_power_of_the_stage(day):
    fed = fed_power(day().sites["a"].power)
    assert [fed.watts(phase) for phase in ("off", "join", "train", "sync")] == [0.0, 100.0, TRAIN_W, TRAIN_W]
