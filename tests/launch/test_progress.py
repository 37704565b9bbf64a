"""Two real sites, one twice as fast: inside a round both read how far the run is."""

import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from curtail_launch.demo.script import write_run_file
from lengths import write_data
from runtime.lab import ROWS

from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.telemetry.record import read_events

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).with_name("progress_program.py")
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
STEP_S = {"fast": 0.06, "slow": 0.12}
"""What is slept: so long that the faster stays so where the machine is busy."""
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What each site read, as its program says it; and the tokens of each version."""
    folder = tmp_path_factory.mktemp("progress")
    directory = folder / "run"
    with EmbeddedEtcd() as etcd:
        tree = {
            "run": {"name": "progress", "directory": str(directory), "seed": 1},
            "coordination": {"endpoints": [etcd.endpoint]},
            "sites": dict.fromkeys(STEP_S, SITE),
            "round": {"steps": 20},
            "data": {"manifest": str(write_data(folder / "data", ROWS))},
            "train": {"program": str(PROGRAM), "step_s": STEP_S},
        }
        config = str(write_run_file(tree, directory))
        commands = {
            name: [sys.executable, str(PROGRAM), "--config", config, "--site", name] for name in STEP_S
        }
        processes = {
            name: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for name, command in commands.items()
        }
        try:
            said = {name: process.communicate(timeout=DEADLINE_S) for name, process in processes.items()}
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
    for name, process in processes.items():
        assert process.returncode == 0, said[name][1]
    commits = [record for record in read_events(directory) if record.event == "commit"]
    works = {record["version"]: record["work"] for record in commits}
    tokens = {0: 0, **{record["version"]: record["tokens"] for record in commits}}
    return {name: json.loads(out) for name, (out, _) in said.items()}, works, tokens


def planned_by_speed(works):
    """Versions whose round, and the one before, both sites trained in, as planned by their speeds."""
    both = {version for version, work in works.items() if len(work) == len(STEP_S)}
    whole = {version for version in both if max(one["steps"] for one in works[version]) == 20}
    return sorted(version for version in whole if version - 1 in both)


def test_at_a_rounds_end_both_sites_read_what_it_commits(run):
    read, works, tokens = run
    versions = planned_by_speed(works)
    assert versions, f"the sites were never together for two rounds: {works}"
    for readings in read.values():
        newest = defaultdict(int)
        for version, committed, estimate in readings:
            newest[version] = estimate - committed
        for version in versions:
            # The last step's own end is the commit: one step of its own is missing in the newest reading.
            whole = tokens[version] - tokens[version - 1]
            assert 0.8 * whole < newest[version - 1] <= 1.1 * whole


def test_the_fast_site_does_more_of_a_round_than_the_slow_one(run):
    _, works, _ = run
    steps = [{one["site"]: one["steps"] for one in works[version]} for version in planned_by_speed(works)]
    assert statistics.median(one["fast"] / one["slow"] for one in steps) > 1.3
