import pytest

from curtail_dist.config import RunConfig
from curtail_dist.energy.scene import Assumptions, Scene

GRID = "time,g_per_kwh\n2026-02-28T00:00Z,300\n2026-03-01T00:00Z,400\n2026-03-01T12:00Z,100\n"
POWER = {"train_w": 2000.0, "idle_w": 500.0}
PLAIN = {"signal": {"kind": "trace", "path": "grid.csv"}, "power": POWER}
MICROGRID = {
    "signal": {
        "kind": "vessim",
        "path": "grid.csv",
        "microgrid": {"train_w": 2000.0, "production": {"path": "sun.csv"}},
    },
    "power": POWER,
}
CONSTANT = {"signal": {"kind": "constant", "value": 5.0}, "power": POWER}


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "grid.csv").write_text(GRID)
    (tmp_path / "sun.csv").write_text("time,watts\n2026-03-01T00:00Z,0\n2026-03-01T18:00Z,900\n")

    def _scene(forecast="history"):
        tree = {
            "run": {"name": "day", "start": "2026-03-01T06:00:00Z", "deadline_h": 12.0},
            "data": {"manifest": "none.json"},
            "sites": {"plain": PLAIN, "microgrid": MICROGRID, "constant": CONSTANT},
        }
        return Scene.of(RunConfig.from_mapping(tree, base=tmp_path), Assumptions(forecast=forecast))

    return _scene


def test_a_history_is_the_whole_trace_and_a_microgrid_s_grid_has_none_to_say_of_it(scene):
    histories = scene().histories
    assert list(histories) == ["plain"]
    assert (histories["plain"].start, histories["plain"].at(-3600.0)) == (-30 * 3600.0, 400.0)


@pytest.mark.parametrize("forecast", ["perfect", "none"])
def test_no_history_is_read_where_no_plan_goes_by_it(scene, forecast):
    assert scene(forecast).histories == {}


def test_run_time_begins_with_the_run(scene):
    grid = scene().grids["plain"].intensity
    assert (grid.start, grid.at(0.0), grid.at(6 * 3600.0)) == (0.0, 400.0, 100.0)
