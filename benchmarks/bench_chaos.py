"""Breaks a run of four sites in all ways for ten minutes (tests/faults/chaos.py), and saves what was left.

    PYTHONPATH=tests python benchmarks/bench_chaos.py [--minutes 10] [--seed 1] [--report DIR] [--out FILE]

Saved: the faults by kind, rows lost and done twice, changes of membership, the loss by version, the machine
and the versions. `--report` keeps the run's events and its report.
"""

import argparse
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench_demo import machine
from faults.chaos import chaos
from nursery import Nursery

CHANGES_A_MINUTE = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=Path("runs/chaos"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/chaos.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, Nursery() as nursery:
        try:
            facts = chaos(nursery, Path(scratch), seed=args.seed, duration_s=60.0 * args.minutes)
        finally:
            shutil.copytree(Path(scratch) / "run", args.report, dirs_exist_ok=True)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": args.seed,
        "machine": machine(),
        **facts,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "loss"}, indent=1))
    print(f"report: {args.report / facts['report']}")
    least = CHANGES_A_MINUTE * args.minutes
    if facts["membership_changes"] < least:
        print(
            f"only {facts['membership_changes']} changes of membership; there must be {least:.0f}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
