"""Plays the demo's day several times, with its always-on baseline, and saves what came out.

    python benchmarks/bench_demo.py [--runs 3] [--out benchmarks/results/demo.json]

Saved: median, least and most of each figure, the machine and the versions. `demo_s` includes start-up, corpus
and report, but not the baseline's run. The energy is modelled and the intensities are synthetic, so kilograms
say how the day was used, not what a data centre would emit.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curtail_dist.telemetry.record import read_events

PACKAGES = ("torch", "numpy", "vessim", "safetensors", "pyarrow")


def play(out: Path, seed: int) -> dict[str, float | None]:
    """Run the demo and its always-on baseline once; return the figures of the summary."""
    command = [sys.executable, "-m", "curtail_dist.cli.main", "demo", "--baseline"]
    began = time.monotonic()
    subprocess.run([*command, "--seed", str(seed), "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    total_s = time.monotonic() - began
    summary = json.loads((out / "summary.json").read_text())
    beside = json.loads((out / "baseline" / "summary.json").read_text())
    singles = [one["emissions_kg"] for name, one in summary["baselines"].items() if "+" not in name]
    return {
        "demo_s": total_s - beside["wall_s"],
        "virtual_h": summary["virtual_h"],
        "commits": summary["commits"],
        "epochs": summary["epochs"],
        "tokens": summary["tokens"],
        "untrained_val_bpb": untrained_bpb(out),
        "val_bpb": summary["loss"]["val_bpb"],
        "baseline_val_bpb": summary["loss"]["baseline_val_bpb"],
        "emissions_kg": summary["emissions_kg"],
        "always_on_mean_kg": statistics.mean(singles) if singles else None,
        "oracle_kg": summary["oracle_kg"],
        "oracle_fraction": summary["oracle_fraction"],
        "stall_share": summary["sync"]["stall_share"],
        "rows_lost": summary["rows"]["lost"],
        "rows_duplicated": summary["rows"]["duplicated"],
    }


def untrained_bpb(directory: Path) -> float:
    """Return the held-out bits per byte of version 0."""
    found = (record for record in read_events(directory) if record.event == "evaluated")
    return next(record["val_bpb"] for record in found if record["version"] == 0)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/demo.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [play(Path(scratch) / f"run-{seed}", seed) for seed in range(1, args.runs + 1)]
    figures: dict[str, Any] = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None]
        if values:
            figures[name] = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "figures": figures,
        "runs": runs,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
