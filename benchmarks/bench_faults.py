"""Plays each fault of the matrix (tests/faults) many times with real processes, and saves what was measured.

    PYTHONPATH=tests python benchmarks/bench_faults.py [--runs 20] [--only NAME ...] [--out FILE]

Saved: median, least and most of each figure, the bound it must keep where there is one, the commit that was
played, the machine and the versions. A play in which anything is lost, or whose fault did not fire where it
names, fails and is saved as such. With `--only` the other scenarios of an existing file stay as they are.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_demo import machine
from faults.matrix import MATRIX, Facts, play
from nursery import Nursery


def measure(name: str, runs: int) -> dict[str, Any]:
    """Play a scenario `runs` times; return its figures."""
    played: list[Facts] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch, Nursery() as nursery:
        for seed in range(1, runs + 1):
            try:
                played.append(play(name, nursery, Path(scratch) / str(seed), seed=seed, once=False))
            except AssertionError as error:
                failures.append(f"seed {seed}: {error}")
                print(f"{name} failed with {failures[-1]}", file=sys.stderr)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": checked_out(),
        "runs": runs,
        "failures": failures,
        "must": judge(name, played),
        "figures": figures(played),
        "plays": played,
    }


def checked_out() -> str:
    """Return the commit that is checked out, with a `+` where files differ from it; empty outside of git."""
    found = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+"], capture_output=True, text=True
    )
    return found.stdout.strip()


def figures(played: Sequence[Facts]) -> dict[str, Any]:
    """Median, least and most of each figure that is a number."""
    found: dict[str, Any] = {}
    for key in played[0] if played else ():
        values = [facts[key] for facts in played]
        if all(isinstance(value, int | float) for value in values):
            found[key] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return found


def judge(name: str, played: Sequence[Facts]) -> dict[str, Any]:
    """Each bound beside the worst play, or for `typical` ones beside the median."""
    scenario = MATRIX[name]
    verdicts: dict[str, Any] = {}
    for key, bound in scenario.bounds.items():
        worst = max((facts[key] for facts in played), default=float("nan"))
        verdicts[key] = {"at_most": bound, "worst": worst, "holds": worst <= bound}
    for key, bound in scenario.typical.items():
        median = statistics.median([facts[key] for facts in played]) if played else float("nan")
        verdicts[key] = {"at_most": bound, "median": median, "holds": median <= bound}
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=MATRIX, default=list(MATRIX))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/faults.json"))
    args = parser.parse_args()
    saved = json.loads(args.out.read_text()) if args.out.exists() else {}
    scenarios: dict[str, Any] = saved.get("scenarios", {})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        scenarios[name] = measure(name, args.runs)
        verdict = {key: scenarios[name][key] for key in ("must", "failures")}
        print(json.dumps({name: verdict}, indent=1), flush=True)
        ordered = {key: scenarios[key] for key in MATRIX if key in scenarios}
        args.out.write_text(json.dumps({"machine": machine(), "scenarios": ordered}, indent=1) + "\n")
    kept = all(
        not one["failures"] and all(v["holds"] for v in one["must"].values()) for one in scenarios.values()
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
