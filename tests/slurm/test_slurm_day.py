"""The demo's day with its ranks in jobs of a real Slurm: the same run file, another `provisioner` block."""

import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from curtail_dist.telemetry.record import read_events

BLOCK = {"kind": "slurm", "slurm": {"poll_s": 0.3, "cpus_per_task": 1}}


@pytest.mark.system
@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_day_by_slurm_trains_every_row_and_leaves_no_job_behind(slurm, tmp_path):
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(BLOCK))
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "curtail_dist.cli.main", "demo", "--out", str(out)]
    argv += ["--day", "short", "--minutes", "0.2", "--provisioner", str(tmp_path / "slurm.yaml")]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        try:
            said = demo.communicate(timeout=240)[0]
        except BaseException:
            os.killpg(demo.pid, signal.SIGTERM)
            raise
    assert demo.returncode == 0, said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"]
    rows = summary["rows"]
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)
    assert [one["deaths"] for one in summary["sites"].values()] == [0, 0, 0]
    ends = [record["code"] for record in read_events(out) if record.event == "ranks_exited"]
    assert ends == [0] * len(ends) != []
    assert slurm.jobs() == []
    for site in summary["sites"]:
        job_states = {state for _, state in slurm.jobs(f"curtail.demo.{site}", over=True)}
        assert job_states == {"COMPLETED"}
