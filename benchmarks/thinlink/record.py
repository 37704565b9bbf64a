"""How figures are summed up and saved: median and spread, with machine, versions and conditions."""

import json
import os
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench_demo import machine


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least, most and number of some observations."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "n": len(values),
    }


def conditions() -> dict[str, Any]:
    """Return what else the machine did, as the load tells, before anything is measured."""
    return {"load_before": os.getloadavg()}


def bound(value: float, at_most: float) -> dict[str, Any]:
    """Return a figure beside the bound it is held against."""
    return {"at_most": at_most, "value": value, "holds": value <= at_most}


def save(out: Path, result: dict[str, Any], *, before: dict[str, Any]) -> None:
    """Write a result, and print what it must hold."""
    whole = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "conditions": {**before, "load_after": os.getloadavg()},
        **result,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(result.get("must", {}), indent=1))
    print(f"saved: {out}")
