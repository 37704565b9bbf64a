"""An operator stops a run of real ranks, and lets it go on: nothing is lost, and what was done is durable."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from faults.lab import STEP_S, STEPS
from lengths import write_data

from curtail_dist.cli.main import main
from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, decode
from curtail_dist.telemetry.record import Record, read_events

KEYS = Keys("stopped")
SITES = ("a", "b")
WAIT_S = 90.0
PROGRAM = "import sys\nfrom faults.program import main\nsys.exit(main(sys.argv[1:]))\n"
MAIN = "import sys; from curtail_dist.cli.main import main; sys.exit(main(sys.argv[1:]))"


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Run:
    """Two sites whose grids are green for ever, and what is known of them."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        program = folder / "program.py"
        program.write_text(PROGRAM)
        (folder / "pace").write_text(str(STEP_S))
        site = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
        tree = {
            "run": {"name": KEYS.run, "directory": str(folder / "run")},
            "sites": dict.fromkeys(SITES, site),
            "coordination": {"endpoints": [endpoint]},
            "policy": {"poll_s": 0.5},
            "round": {"steps": STEPS},
            "data": {"manifest": str(write_data(folder / "data", 40_000))},
            "train": {"program": str(program), "folder": str(folder)},
        }
        self.file = folder / "run.yaml"
        self.file.write_text(yaml.safe_dump(tree))
        self.directory = folder / "run"
        self.store = open_store(RunConfig.from_yaml(self.file).coordination)
        self.agents: list[subprocess.Popen[str]] = []

    def start(self, site: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", MAIN, "site", "--unchecked", "--config", str(self.file)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        agent = subprocess.Popen(
            [*command, "--site", site], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.agents.append(agent)
        return agent

    def stage(self, site: str) -> str:
        entry = self.store.get(KEYS.agent(site))
        return "" if entry is None else AgentState.decode(entry.value).stage

    def head(self) -> Commit:
        entry = self.store.get(KEYS.head)
        assert entry is not None
        return Commit.decode(entry.value)

    def records(self, *names: str) -> list[Record]:
        return [one for one in read_events(self.directory) if one.event in names]

    def close(self) -> None:
        for agent in self.agents:
            agent.kill()
            agent.communicate()
        self.store.close()


@contextmanager
def running(folder: Path) -> Iterator[Run]:
    with EmbeddedEtcd(None) as etcd:
        run = Run(folder, etcd.endpoint)
        try:
            yield run
        finally:
            run.close()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_after_a_commit_is_durable_and_goes_on_from_there(tmp_path, capsys):
    with running(tmp_path) as run:
        agents = [run.start(site) for site in SITES]
        eventually(lambda: all(run.stage(site) == "on" for site in SITES))
        both = run.head().version + 2
        eventually(lambda: run.head().version > both and len(run.head().work) == 2)
        why = ["--reason", "the hall is cooled"]
        assert main(["stop", "--config", str(run.file), "--after-commit", *why]) == 0
        assert "it is on, and leaves, and its agent ends" in capsys.readouterr().out
        said = [agent.communicate(timeout=WAIT_S)[0] for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0]
        assert all("the hall is cooled" in text for text in said)

        head = run.head()
        holder = run.store.get(KEYS.holder(head.version))
        assert holder is not None, "the last one out makes its snapshot durable"
        assert decode(holder.value)["hash"] == head.hash
        assert not run.records("ranks_died", "round_discarded")
        assert {one["order"] for one in run.records("ordered")} == {"stop"}
        assert {one.site for one in run.records("drained")} == set(SITES)
        assert max(work.steps for work in head.work) == STEPS, "the open round ends as it was planned"

        late = run.start("a")
        assert "the hall is cooled" in late.communicate(timeout=WAIT_S)[0]
        assert main(["release", "--config", str(run.file)]) == 0
        run.start("a")
        eventually(lambda: run.stage("a") == "on")
        again = run.records("joined")[-1]
        assert (again["how"], again["version"]) == ("resumed", head.version)
