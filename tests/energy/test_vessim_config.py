from datetime import UTC, datetime
from pathlib import Path

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.config.microgrid import MicrogridConfig, ProductionConfig, StorageConfig
from curtail_dist.config.reader import build, plain
from curtail_dist.energy import open_signal
from curtail_dist.errors import ConfigError

SUN = {"path": "/sun.csv"}
BATTERY = {"capacity_wh": 5000, "initial_soc": 0.5}
PLAIN = {"train_w": 2024, "production": SUN, "storage": BATTERY}


def test_a_microgrid_is_read_from_plain_values_and_written_back():
    config = build(MicrogridConfig, PLAIN, "microgrid")
    assert config.production == ProductionConfig(path=Path("/sun.csv"))
    assert config.storage == StorageConfig(capacity_wh=5000.0, initial_soc=0.5)
    assert build(MicrogridConfig, plain(config), "microgrid") == config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_w": 0}, r"microgrid\.train_w"),
        ({"train_w": float("nan")}, r"microgrid\.train_w"),
        ({"measure": "price"}, "surplus or intensity"),
        ({"mode": "real"}, "simulated or live"),
        ({"production": None}, r"microgrid\.production is None; it must be given with measure: surplus"),
        ({"production": None, "measure": "intensity"}, "given with storage"),
        ({"base_load_w": -1.0}, r"microgrid\.base_load_w"),
        ({"step_s": 0}, r"microgrid\.step_s"),
        ({"feed_max_age_s": 0}, r"microgrid\.feed_max_age_s"),
        ({"production": {**SUN, "g_per_kwh": float("nan")}}, r"production\.g_per_kwh"),
        ({"storage": {**BATTERY, "capacity_wh": 0}}, r"storage\.capacity_wh"),
        ({"storage": {**BATTERY, "initial_soc": 1.1}}, r"rising, in \[0, 1\]"),
        ({"storage": {**BATTERY, "min_soc": 0.6}}, r"rising, in \[0, 1\]"),
        ({"storage": {**BATTERY, "max_soc": 0.4}}, r"rising, in \[0, 1\]"),
        ({"storage": {**BATTERY, "max_charge_w": -1}}, r"storage\.max_charge_w"),
        ({"storage": {**BATTERY, "max_discharge_w": float("inf")}}, r"storage\.max_discharge_w"),
        ({"storage": {**BATTERY, "sustain_s": 0}}, r"storage\.sustain_s"),
    ],
)
def test_what_is_no_microgrid_is_refused_with_its_key(changes, says):
    with pytest.raises(ConfigError, match=says):
        build(MicrogridConfig, {**PLAIN, **changes}, "microgrid")


def test_a_run_file_s_microgrid_is_opened_with_paths_from_the_run_file_on(tmp_path, clock):
    start = datetime(2026, 3, 1, tzinfo=UTC)
    (tmp_path / "grid.csv").write_text("time,g_per_kwh\n2026-03-01T00:00Z,400\n2026-03-01T12:00Z,400\n")
    (tmp_path / "sun.csv").write_text("time,watts\n2026-03-01T00:00Z,1000\n2026-03-01T12:00Z,0\n")
    tree = {
        "run": {"name": "day"},
        "data": {"manifest": "none.json"},
        "sites": {
            "texas": {
                "signal": {
                    "kind": "vessim",
                    "path": "grid.csv",
                    "microgrid": {"train_w": 2000.0, "production": {"path": "sun.csv"}},
                },
                "power": {"train_w": 2000.0, "idle_w": 500.0},
            }
        },
    }
    section = RunConfig.from_mapping(tree, base=tmp_path).sites["texas"].signal
    signal = open_signal(section, clock=clock, start=start, site="texas")
    assert signal.latest().value == pytest.approx(200.0)  # half of what it would draw is there
    tree["sites"]["texas"]["power"]["train_w"] = 1500.0
    with pytest.raises(ConfigError, match=r"microgrid\.train_w is 2000\.0; it must be the site's"):
        RunConfig.from_mapping(tree, base=tmp_path)
    tree["sites"]["texas"]["signal"]["kind"] = "trace"
    with pytest.raises(ConfigError, match=r"signal\.kind is 'trace'; it must be vessim where"):
        RunConfig.from_mapping(tree, base=tmp_path)


def test_a_pue_that_a_surplus_would_seem_to_cover_is_refused():
    site = {
        "signal": {
            "kind": "vessim",
            "path": "/grid.csv",
            "microgrid": {"train_w": 2000.0, "production": {"path": "/sun.csv"}},
        },
        "power": {"train_w": 2000.0, "idle_w": 500.0},
        "footprint": {"pue": 1.5},
    }
    tree = {"run": {"name": "day"}, "data": {"manifest": "none.json"}, "sites": {"texas": site}}
    with pytest.raises(ConfigError, match=r"sites\.texas\.footprint\.pue is 1\.5; it must be 1 where"):
        RunConfig.from_mapping(tree)
    site["signal"]["microgrid"]["measure"] = "intensity"
    assert RunConfig.from_mapping(tree).sites["texas"].footprint.pue == 1.5
