"""A short day of the demo, played whole with a provisioner of one's choice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from curtail_dist.telemetry.record import read_events

SITES = ("california", "texas", "south-australia")
TIMEOUT_S = 300
"""Of a test that plays it."""
DEADLINE_S = 240


def play_short_day(folder: Path, provisioner: Mapping[str, Any]) -> Path:
    """Play it below `folder`; return its run directory. Each row was trained once, and no rank died."""
    (folder / "provisioner.yaml").write_text(yaml.safe_dump(dict(provisioner)))
    out = folder / "out"
    argv = [sys.executable, "-m", "curtail_dist.cli.main", "demo", "--out", str(out)]
    argv += ["--day", "short", "--minutes", "0.2", "--provisioner", str(folder / "provisioner.yaml")]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        try:
            said = demo.communicate(timeout=DEADLINE_S)[0]
        except BaseException:
            os.killpg(demo.pid, signal.SIGTERM)
            raise
    assert demo.returncode == 0, said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"]
    rows = summary["rows"]
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)
    assert {name: one["deaths"] for name, one in summary["sites"].items()} == dict.fromkeys(SITES, 0)
    ends = [record["code"] for record in read_events(out) if record.event == "ranks_exited"]
    assert ends == [0] * len(ends) != []
    return out
