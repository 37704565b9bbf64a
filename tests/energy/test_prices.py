"""The price of electricity: reckoned, and weighed in a plan where the run file says so."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.config import RunConfig
from curtail_dist.config.price import PriceConfig
from curtail_dist.energy.emissions import Interval, PowerModel
from curtail_dist.energy.prices import cost_of, price_series, weighed
from curtail_dist.energy.scene import Assumptions
from curtail_dist.energy.simulation import simulate
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError, TraceError

START = datetime(2026, 3, 21, tzinfo=UTC)
POWER = PowerModel(train_w=1000.0, idle_w=100.0, join_w=100.0, sync_w=100.0)
HOUR = 3600.0


def steps(*values: float) -> StepFunction:
    return StepFunction(edges=tuple(HOUR * index for index in range(len(values) + 1)), values=values)


def test_a_price_of_a_file_is_read_per_kwh_and_may_be_below_zero(write):
    path = write("time,price\n2026-03-21T00:00:00Z,-20\n2026-03-21T01:00:00Z,80\n", name="price.csv")
    series = price_series(PriceConfig(path=path, per="MWh"), START)
    assert (series.at(0.0), series.at(HOUR), series.end) == (-0.02, 0.08, 2 * HOUR)


def test_what_is_no_price_names_the_line(write):
    path = write("time,price\n2026-03-21T00:00:00Z,free\n2026-03-21T01:00:00Z,80\n", name="price.csv")
    with pytest.raises(TraceError, match=r"price.csv:2: price is 'free'; it must be a number: mend"):
        price_series(PriceConfig(path=path), START)


@pytest.mark.parametrize(
    "given", [{}, {"per_kwh": 0.1, "path": "x"}, {"per_kwh": float("nan")}, {"per_kwh": 1.0, "per": "GWh"}]
)
def test_a_section_that_does_not_fit_is_the_users_mistake(given):
    with pytest.raises(ConfigError):
        PriceConfig(**given)


def test_cost_is_the_integral_of_power_and_price():
    intervals = [
        Interval(start=0.0, stop=2 * HOUR, phase="train"),
        Interval(start=2 * HOUR, stop=3 * HOUR, phase="idle"),
    ]
    assert cost_of(intervals, POWER, steps(0.3, -0.1, 0.5)) == pytest.approx(0.3 - 0.1 + 0.05)
    assert cost_of([], POWER, steps(0.3)) == 0.0


def test_the_cost_of_power_at_unknown_prices_is_not_known():
    late = [Interval(start=HOUR, stop=4 * HOUR, phase="train")]
    with pytest.raises(
        TraceError, match=r"known from 0.00 h to 3.00 h, and it drew power from 1.00 h to 4.00 h"
    ):
        cost_of(late, POWER, steps(0.1, 9.0, 0.2))
    early = [Interval(start=0.0, stop=HOUR, phase="train")]
    with pytest.raises(TraceError, match="give prices that cover that"):
        cost_of(early, POWER, StepFunction(edges=(1.0, HOUR), values=(0.1,)))


def test_a_price_that_is_not_known_costs_nothing_while_nothing_is_drawn():
    on = [Interval(start=0.0, stop=HOUR, phase="train")]
    free = replace(POWER, idle_w=0.0)
    idle = [*on, Interval(start=HOUR, stop=9 * HOUR, phase="idle")]
    assert cost_of(idle, free, steps(0.3)) == pytest.approx(0.3)


def test_prices_that_end_before_the_run_are_refused_as_a_trace_is(write):
    path = write("time,price\n2025-03-21T00:00:00Z,0.1\n2025-03-21T01:00:00Z,9\n", name="price.csv")
    with pytest.raises(
        TraceError, match=r"price.csv ends at 2025-03-21T02.*; give prices that cover the run"
    ):
        price_series(PriceConfig(path=path), START)


def test_what_weighs_nothing_changes_nothing():
    intensity = steps(100.0, 200.0)
    assert weighed(intensity, None, 5.0) is intensity
    assert weighed(intensity, steps(1.0), 0.0) is intensity


def test_a_price_is_weighed_where_it_is_known_and_held_where_it_is_not():
    found = weighed(steps(100.0, 100.0, 100.0), StepFunction(edges=(1800.0, HOUR), values=(0.5,)), 100.0)
    assert [found.at(at) for at in (0.0, 1800.0, HOUR, 2 * HOUR)] == [150.0, 150.0, 150.0, 150.0]
    assert weighed(steps(10.0), StepFunction(edges=(0.0, HOUR), values=(-1.0,)), 100.0).at(0.0) == 0.0


@pytest.fixture
def day(tmp_path):
    """One site, equally clean all day, whose electricity is dear at first and cheap later."""
    rows = [f"2026-03-21T{hour:02d}:00:00Z,{0.4 if hour < 4 else 0.1}" for hour in range(9)]
    (tmp_path / "price.csv").write_text("\n".join(["time,price", *rows]))
    site = {
        "signal": {"kind": "constant", "value": 100.0},
        "power": {"train_w": 1000.0, "idle_w": 100.0},
        "price": {"path": "price.csv"},
    }
    tree = {
        "run": {"name": "day", "start": START.isoformat(), "deadline_h": 8.0},
        "data": {"manifest": "none.json"},
        "policy": {"kind": "work-price", "replan_s": 600.0, "poll_s": 600.0, "commitment_s": 0.0},
        "sites": {"texas": site},
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_a_price_shifts_work_to_cheap_hours_only_where_it_counts(day):
    given = Assumptions(work_s=3 * HOUR, forecast="perfect")
    config = RunConfig.from_yaml(day)
    careless = simulate(config, given)
    careful = simulate(replace(config, policy=replace(config.policy, g_per_currency=1000.0)), given)
    assert careful.costs["texas"] == pytest.approx(0.3, abs=0.02)
    assert careful.costs["texas"] < 0.5 * careless.costs["texas"]
    assert careful.emissions_kg == pytest.approx(careless.emissions_kg, rel=0.01)


def test_the_verb_tells_what_it_cost(day, capsys):
    assert main(["simulate", "--config", str(day), "--work-h", "3"]) == 0
    assert "electricity cost" in capsys.readouterr().out


def test_a_cost_that_is_not_known_throughout_is_told_with_its_reason_and_adds_up_to_nothing(day, capsys):
    tree = yaml.safe_load(day.read_text())
    tree["sites"]["utah"] = {**tree["sites"]["texas"], "price": {"per_kwh": 0.1}}
    day.write_text(yaml.safe_dump(tree))
    short = day.with_name("price.csv")
    short.write_text("\n".join(short.read_text().splitlines()[:4]))
    command = ["simulate", "--config", str(day), "--work-h", "16", "--policy", "always"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "electricity cost in the currency of its prices: utah 0.80\n" in text
    assert (
        "electricity cost of texas not known: its price is known from 0.00 h to 3.00 h, and it drew" in text
    )
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (list(facts["costs"]), list(facts["unknown_costs"])) == (["utah"], ["texas"])
    weighing = ["--policy", "work-price", "--set", "policy.g_per_currency=100"]
    assert main([*command, *weighing]) == 0
    assert (
        "give prices that cover that; plans took the nearest price that is known" in capsys.readouterr().out
    )


def test_the_cost_of_a_site_without_a_price_is_not_known_and_no_sum_is_told(day, capsys):
    tree = yaml.safe_load(day.read_text())
    tree["sites"]["utah"] = {key: value for key, value in tree["sites"]["texas"].items() if key != "price"}
    day.write_text(yaml.safe_dump(tree))
    assert main(["simulate", "--config", str(day), "--work-h", "4", "--policy", "always"]) == 0
    text = capsys.readouterr().out
    assert "electricity cost in the currency of its prices: texas 0.80\n" in text
    assert "electricity cost of utah not known: sites.utah.price is not given\n" in text


def test_a_file_of_prices_that_does_not_fit_is_not_called_a_signal(write, tmp_path):
    with pytest.raises(TraceError, match=r"none.csv cannot be read \(.*\); path must name an existing"):
        price_series(PriceConfig(path=tmp_path / "none.csv"), START)
    path = write("time,cost\n2026-03-21T00:00:00Z,1\n2026-03-21T01:00:00Z,1\n", name="price.csv")
    with pytest.raises(
        TraceError, match=r"has 0 columns named 'price'.* time_column or value_column"
    ) as caught:
        price_series(PriceConfig(path=path), START)
    assert "signal" not in str(caught.value)


def test_where_prices_are_weighed_a_site_without_one_is_refused_and_not_taken_for_free(day, capsys):
    tree = yaml.safe_load(day.read_text())
    tree["policy"]["g_per_currency"] = 100.0
    tree["sites"]["utah"] = {key: value for key, value in tree["sites"]["texas"].items() if key != "price"}
    day.write_text(yaml.safe_dump(tree))
    assert main(["simulate", "--config", str(day), "--work-h", "4"]) == 2
    assert "sites.utah.price is None; it must be given, for policy.g_per_currency" in capsys.readouterr().err
