"""How close policies come to the offline optimum, and how fast they decide; on synthetic grids.

    python benchmarks/bench_energy.py [--part speed day weeks] [--seeds 1 2 3] [--jobs 2]

Weeks of three sites (solar-heavy, wind-heavy, flat) with four weeks of history, at two loads; the published
day as square waves, with feeds that fail for two hours; and the time of one decision. Writes
benchmarks/results/energy.json.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bench_demo import machine
from curtail_launch.demo.day import DAYS, seconds

from curtail_dist.config import RunConfig
from curtail_dist.energy.baselines import reference_kg
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.policy import Threshold
from curtail_dist.energy.saving import Saving
from curtail_dist.energy.scene import Assumptions
from curtail_dist.energy.simulation import Simulation, simulate
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.synthetic import flat, solar_heavy, wind_heavy
from curtail_dist.energy.thresholds import threshold_windows
from curtail_dist.energy.workprice import Prospect, Question, advise

RESULT = Path(__file__).parent / "results" / "energy.json"
HISTORY_DAYS, RUN_DAYS = 28, 7
SPARE_DAYS = 2
"""Beyond the week, for the baselines: one site takes longer than three."""
PARTS = ("speed", "day", "weeks")
LOADS = (0.2, 0.4)
"""Work as a share of what three sites could do alone in the week."""
EFFICIENCY, JOIN_S = 0.8, 345.0
POWER = {"train_w": 2024.0, "idle_w": 468.0}
START = datetime(2026, 3, 1, tzinfo=UTC)
LOW, HIGH = 25.4, 520.0
"""g/kWh inside and outside of the windows: with these the published rule emits what was published."""
DAY_WORK_S, DAY_H = 17.78 * 3600, (14.6, 18.0)


def week(item: tuple[int, float]) -> dict[str, Any]:
    """Play one week at one load by work price and by threshold."""
    seed, load = item
    work_s = load * 3 * RUN_DAYS * 86_400.0
    with tempfile.TemporaryDirectory() as scratch:
        sites, values = {}, []
        for name, make in (("sun", solar_heavy), ("wind", wind_heavy), ("flat", flat)):
            trace = make(days=HISTORY_DAYS + RUN_DAYS + SPARE_DAYS, seed=seed, start=START)
            trace.write_trace(Path(scratch) / f"{name}.csv")
            sites[name] = {"signal": {"kind": "trace", "path": f"{scratch}/{name}.csv"}, "power": POWER}
            values += trace.values[: HISTORY_DAYS * 288]
        threshold = sorted(values)[int(load * len(values))]
        policy = {"poll_s": 300.0, "replan_s": 1800.0, "pair_efficiency": EFFICIENCY, "leave_delay_s": 0.0}
        found: dict[str, Any] = {"seed": seed, "load": load, "threshold_g_per_kwh": threshold}
        for kind in ("work-price", "threshold"):
            config = _config(
                sites, {**policy, "kind": kind, "threshold_g_per_kwh": threshold}, hours=RUN_DAYS * 24.0
            )
            began = time.monotonic()
            found[kind] = _figures(simulate(config, Assumptions(work_s=work_s)), time.monotonic() - began)
        return found


def _config(sites: dict[str, Any], policy: dict[str, Any], *, hours: float) -> RunConfig:
    return RunConfig.from_mapping(
        {
            "run": {
                "name": "week",
                "deadline_h": hours,
                "start": (START + timedelta(days=HISTORY_DAYS)).isoformat(),
            },
            "clock": {"kind": "virtual", "endpoint": "127.0.0.1:1", "join_s": JOIN_S},
            "data": {"manifest": "none.json"},
            "policy": policy,
            "sites": sites,
        }
    )


def _figures(found: Simulation, seconds: float) -> dict[str, Any]:
    finished, best = found.played.finished_at, found.oracle
    assert best is not None, "the loads fit into the week"
    done = finished is not None
    return {
        "finished_h": finished / 3600 if finished is not None else None,
        "kg": found.emissions_kg,
        "joins": sum(event.what == "join" for event in found.events),
        "optimum_kg": best.schedule_kg if done else None,
        "bound_kg": best.emissions_kg if done else None,
        "share_of_saving": _share(found) if done else None,
        "times_optimum": found.emissions_kg / best.schedule_kg if done else None,
        "seconds": seconds,
    }


def _share(found: Simulation) -> float | None:
    """Return the share of the saving of the optimum's schedule, against the mean always-on site."""
    reference = reference_kg(
        {name: found.baselines[name] for name in found.scene.grids if name in found.baselines}
    )
    if found.oracle is None or reference is None:
        return None
    saving = Saving(
        reference_kg=reference,
        run_kg=found.emissions_kg,
        bound_kg=found.oracle.schedule_kg,
        work_s=found.played.work_s,
    )
    return saving.fraction


def day() -> dict[str, Any]:
    """Play the published day, with and without outages of two hours."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        sites = {name: _square(Path(scratch), name) for name in DAYS["published"].windows}
        for kind, delay in (("threshold", 600.0), ("threshold", 0.0), ("work-price", 0.0)):
            for hours in DAY_H if kind == "work-price" else DAY_H[1:]:
                policy = {
                    "kind": kind,
                    "poll_s": 10.0 if kind == "threshold" else 60.0,
                    "leave_delay_s": delay,
                    "pair_efficiency": EFFICIENCY,
                }
                config = _config(sites, policy, hours=hours)

                def played(
                    outage: tuple[float, float] | None = None, config: RunConfig = config
                ) -> Simulation:
                    return simulate(config, Assumptions(work_s=DAY_WORK_S, forecast="perfect", outage=outage))

                began = time.monotonic()
                usual = played()
                name = f"{kind}, {delay:g} s, {hours:g} h"
                found[name] = _figures(usual, time.monotonic() - began) | _outages(played, usual, hours)
    return found


def _outages(
    played: Callable[[tuple[float, float]], Simulation], usual: Simulation, hours: float
) -> dict[str, Any]:
    ratios, late, started = [], 0, 0
    for begin in range(0, int((hours - 2) * 3600), 3600):
        found = played((begin, begin + 7200.0))
        started += any(e.what == "join" and begin <= e.t < begin + 7200.0 for e in found.events)
        if found.played.finished_at is None:
            late += 1
        else:
            ratios.append(found.emissions_kg / usual.emissions_kg)
    return {
        "outages": len(ratios) + late,
        "outage_started_a_site": started,
        "outage_unfinished": late,
        "outage_median_times": statistics.median(ratios) if ratios else None,
        "outage_worst_times": max(ratios, default=None),
    }


def _square(folder: Path, name: str) -> dict[str, Any]:
    """Write a site's windows as rows of five minutes and return its section."""
    start = START + timedelta(days=HISTORY_DAYS)
    lines = ["# synthetic: square waves at the windows of a published day", "time,g_per_kwh"]
    for row in range(26 * 12):
        at = row * 300
        inside = any(seconds(a) <= at < seconds(b) for a, b in DAYS["published"].windows[name])
        lines.append(f"{(start + timedelta(seconds=at)).isoformat()},{LOW if inside else HIGH}")
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n")
    return {"signal": {"kind": "trace", "path": str(path)}, "power": POWER}


def speed() -> dict[str, Any]:
    """Time the threshold over a year of 100 sites, and one plan for 100 sites and for three."""
    chance = np.random.default_rng(1)
    values = chance.uniform(0, 500, (100, 105_120))
    rule = Threshold(threshold=100.0, leave_delay_s=600.0)
    power = PowerModel(train_w=2024.0, idle_w=468.0, join_w=468.0, sync_w=468.0)

    def question(sites: int, *, days: int = 1, futures: int = 1, slot_s: float = 300.0) -> Question:
        slots = round(days * 86_400 / slot_s)
        edges = tuple(slot_s * slot for slot in range(slots + 1))

        def future() -> StepFunction:
            return StepFunction(edges=edges, values=tuple(chance.uniform(0, 500, slots)))

        return Question(
            now=0.0,
            deadline_s=days * 86_400.0,
            work_s=0.2 * sites * days * 86_400,
            sites={
                str(n): Prospect(futures=tuple(future() for _ in range(futures)), power=power, on=False)
                for n in range(sites)
            },
            join_s=JOIN_S,
            pair_efficiency=EFFICIENCY,
            slot_s=slot_s,
        )

    many, few = question(100), question(3)
    week_ahead = question(3, days=RUN_DAYS, futures=HISTORY_DAYS, slot_s=1800.0)
    return {
        "threshold_100_sites_a_year_s": _times(lambda: threshold_windows(values, rule, poll_s=300.0), 5),
        "plan_100_sites_288_slots_s": _times(lambda: advise(many), 9),
        "plan_3_sites_288_slots_s": _times(lambda: advise(few), 9),
        "plan_3_sites_a_week_28_futures_s": _times(lambda: advise(week_ahead), 9),
        "import_s": _times(_import, 9),
    }


def _import() -> None:
    """Import the package in a process of its own; a bare interpreter's start is part of it."""
    subprocess.run([sys.executable, "-c", "import curtail_dist.energy"], check=True)


def _times(call: Callable[[], object], repeats: int) -> dict[str, float]:
    call()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return {"median": statistics.median(found), "least": min(found), "most": max(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="the others are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = machine()
    if "speed" in args.part:
        result["speed"] = speed()
    if "day" in args.part:
        result["day"] = day()
    if "weeks" in args.part:
        items = [(seed, load) for seed in args.seeds for load in LOADS]
        with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
            result["weeks"] = pool.map(week, items, chunksize=1)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
