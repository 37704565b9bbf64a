"""Plays the demo's day several times, with its always-on baseline, and saves what came out.

    python benchmarks/bench_demo.py [--runs 3] [--out benchmarks/results/demo.json]

Saved: median, least and most of each figure, the machine and the versions. The wall-clock figures include
start-up,
corpus and report; the energy is modelled and the intensities are synthetic, so kilograms say how the day was
used,
not what a data centre would emit.
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

PACKAGES = ("torch", "numpy", "vessim", "safetensors", "pyarrow")


def play(out: Path, seed: int) -> dict[str, float | None]:
    """Run the demo without and with the baseline's training; return the figures of the summary."""
    began = time.monotonic()
    command = [sys.executable, "-m", "curtail_dist.cli.main", "demo", "--seed", str(seed), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    demo_s = time.monotonic() - began
    beside = out.with_name(f"{out.name}-beside")
    command = [*command[:-1], str(beside), "--baseline"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    alone, compared = (json.loads((path / "summary.json").read_text()) for path in (out, beside))
    singles = [one["emissions_kg"] for name, one in alone["baselines"].items() if "+" not in name]
    first = next(
        json.loads(line)["val_bpb"]
        for file in sorted((out / "events").glob("*.jsonl"))
        for line in file.read_text().splitlines()
        if '"evaluated"' in line and '"version": 0' in line
    )
    return {
        "demo_s": demo_s,
        "virtual_h": alone["virtual_h"],
        "commits": alone["commits"],
        "epochs": alone["epochs"],
        "tokens": alone["tokens"],
        "untrained_bpb": first,
        "val_bpb": compared["loss"]["val_bpb"],
        "baseline_val_bpb": compared["loss"]["baseline_val_bpb"],
        "emissions_kg": alone["emissions_kg"],
        "always_on_mean_kg": statistics.mean(singles) if singles else None,
        "oracle_kg": alone["oracle_kg"],
        "oracle_fraction": alone["oracle_fraction"],
        "stall_share": alone["sync"]["stall_share"],
        "rows_lost": alone["rows"]["lost"],
        "rows_duplicated": alone["rows"]["duplicated"],
    }


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
