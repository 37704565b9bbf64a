"""Real sites read how far the run is inside a round: two, one twice as fast, and one that never waits."""

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


def train_at(step_s, folder, **sections):
    """Return what each site read, as its program says it, and the run's commits.

    `step_s` is the real time of a step by site, `sections` are further ones of the run file.
    """
    directory = folder / "run"
    with EmbeddedEtcd() as etcd:
        tree = {
            "run": {"name": "progress", "directory": str(directory), "seed": 1},
            "coordination": {"endpoints": [etcd.endpoint]},
            "sites": dict.fromkeys(step_s, SITE),
            "round": {"steps": 20},
            "data": {"manifest": str(write_data(folder / "data", ROWS))},
            "train": {"program": str(PROGRAM), "step_s": step_s},
            **sections,
        }
        config = str(write_run_file(tree, directory))
        commands = {
            name: [sys.executable, str(PROGRAM), "--config", config, "--site", name] for name in step_s
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
    return {name: json.loads(out) for name, (out, _) in said.items()}, commits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What each site read; and of each version the works and the tokens."""
    read, commits = train_at(STEP_S, tmp_path_factory.mktemp("progress"))
    works = {record["version"]: record["work"] for record in commits}
    tokens = {0: 0, **{record["version"]: record["tokens"] for record in commits}}
    return read, works, tokens


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


def test_what_an_exchange_under_way_carries_is_read_too(tmp_path):
    """A site alone estimates nothing: it reads what it has trained, after each of its steps."""
    read, _ = train_at({"alone": 0.0}, tmp_path, outer={"sync_delay": 5})
    tokens = [estimate for *_, estimate in read["alone"]]
    assert tokens == sorted(tokens), "the run seems to go back while an exchange is under way"
    # At each commit of 20 steps, 4 rows each, the program reads nothing.
    assert len(tokens) == ROWS // 4 * 19 // 20
    assert set(tokens) == {4 * step for step in range(1, ROWS // 4 + 1) if step % 20 and step <= ROWS // 4}
