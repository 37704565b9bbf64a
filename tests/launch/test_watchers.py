"""What watches a run cannot touch it: a run without, and again with all that watches broken in the middle."""

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from curtail_launch.demo.script import learning, write_run_file
from dashboard.dashboard_runs import served
from faults.lab import write_whole
from faults.record import Events
from report.wandb_server import WandbServer

from curtail_dist.clock.service import ClockService
from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import open_store
from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Presence
from curtail_dist.report.build import summarize

pytestmark = [
    pytest.mark.launch,
    pytest.mark.integration,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

DEADLINE_S = 60.0
END_S = 30.0
"""For an agent to end after its run, whatever has become of what watches it."""
PROGRAM = str(Path(__file__).with_name("paced_train.py"))
SITES = ("texas", "california")
BROKEN_AT = 2
"""From this version on everything that watches is broken, while the sites train."""
SLOW_S = 0.3
"""What an inner step takes until then."""
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
WATCHED = ("--set", "telemetry.wandb=true", "--set", "telemetry.prometheus=127.0.0.1:0")


def tree(material, folder, *, etcd, clock):
    """The run file of a small model at two sites that are as fast as each other, by the virtual clock."""
    learned = learning(material)
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": 64}
    options = {"program": PROGRAM, "device": "cpu", "device_batch_size": 8, "eval_sequences": 8}
    return {
        "run": {
            "name": "watched",
            "directory": str(folder),
            "seed": 1,
            "start": "2026-03-21T17:00:00+00:00",
        },
        "clock": {"kind": "virtual", "endpoint": clock, "step_s": 30.0, "sync_s": 10.0, "join_s": 0.0},
        "coordination": {"endpoints": [etcd]},
        "sites": dict.fromkeys(SITES, SITE),
        "round": {"steps": 20},
        "telemetry": {"step_every": 5},
        **learned,
        "model": {**learned["model"], **shape},
        "train": {**learned["train"], **options},
    }


@dataclass
class Run:
    """A run of two sites, each with its agent. Owns the agents until `close`."""

    folder: Path
    run_file: Path
    store: object
    environment: dict
    agents: dict = field(default_factory=dict)

    def __post_init__(self):
        self.events = Events(self.folder)

    def start(self, site, *arguments):
        command = [sys.executable, "-m", "curtail_dist.cli.main", "site", "--config", str(self.run_file)]
        with self.said_of(site).open("w") as file:
            self.agents[site] = subprocess.Popen(
                [*command, "--site", site, "--unchecked", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
            )

    def said_of(self, site):
        return self.folder / f"{site}.said"

    def pace(self, said):
        write_whole(self.folder / "pace", str(said))

    def wait_for(self, look, what, *, deadline_s=DEADLINE_S):
        deadline = time.monotonic() + deadline_s
        while not (found := look()):
            said = {site: self.said_of(site).read_text()[-2_000:] for site in self.agents}
            assert all(agent.poll() in (None, 0) for agent in self.agents.values()), said
            assert time.monotonic() < deadline, f"{what} did not come within {deadline_s} s: {said}"
            time.sleep(0.02)
        return found

    @property
    def newest(self):
        """The newest version."""
        return max((one["version"] for one in self.events.of("commit")), default=0)

    def is_ready(self, site):
        entry = self.store.get(Keys("watched").member(site))
        return entry is not None and bool(Presence.decode(entry.value).ready)

    def close(self):
        for agent in self.agents.values():
            if agent.poll() is None:
                agent.terminate()
        for agent in self.agents.values():
            try:
                agent.wait(END_S)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()


class Watchers:
    """wandb, a dashboard and a scraper at a run; each can be broken, and says that it is."""

    def __init__(self, run, server, dashboard):
        self.run = run
        self._server = server
        self._address, self._dashboard = dashboard

    def see(self):
        """Wait until each has seen something of the run."""
        self.run.wait_for(lambda: len(self._server.history) == 2, "points of both sites at wandb")
        self.run.wait_for(lambda: all(self._server.history.values()), "points of both sites at wandb")
        host, _, port = self._address.removeprefix("http://").strip("/").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        while not (line := answer.readline()).startswith(b"data:"):
            assert line
        picture = json.loads(line.removeprefix(b"data:"))
        assert {site["name"] for site in picture["sites"]} == set(SITES)
        connection.close()

    def breaks(self):
        """Break each of them; return how it is known."""
        service = next(one for one in self._feeder("california").children() if "wandb-core" in one.name())
        self._server.fall_silent()
        self._dashboard.send_signal(signal.SIGKILL)
        self._feeder("california").kill()
        self._break_off(self._metrics("texas"))
        self._say_nothing(self._metrics("california"))
        self.run.wait_for(
            lambda: self._server.unanswered > 0, "a request that wandb's server leaves unanswered"
        )
        self.run.wait_for(lambda: not service.is_running(), "the end of wandb's service after its process")
        return {"dashboard": self._dashboard.wait(END_S)}

    def _feeder(self, site):
        """The process that feeds wandb."""
        children = psutil.Process(self.run.agents[site].pid).children()
        return next(one for one in children if "curtail_dist.report.wandbprocess" in one.cmdline())

    def _metrics(self, site):
        found = re.search(r"metrics at http://([\d.]+):(\d+)/", self.run.said_of(site).read_text())
        return found[1], int(found[2])

    def _break_off(self, address):
        """Ask for metrics, and be gone in the middle of the answer, with a reset."""
        with socket.create_connection(address, timeout=10) as scraper:
            scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert scraper.recv(9) == b"HTTP/1.0 "
            scraper.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _say_nothing(self, address):
        """Hold the endpoint's only place without a word until it is cut."""
        with socket.create_connection(address, timeout=10) as scraper:
            assert scraper.recv(1) == b""


def play(folder, material, watched):
    """Play the run; return each version's hashes, its summary, and what is known of the faults."""
    with ExitStack() as stack:
        etcd, clock = stack.enter_context(EmbeddedEtcd()), stack.enter_context(ClockService())
        run_file = write_run_file(tree(material, folder, etcd=etcd.endpoint, clock=clock.endpoint), folder)
        server = stack.enter_context(WandbServer())
        home = {"HOME": str(folder), "NETRC": str(folder / "none")}
        store = stack.enter_context(open_store(CoordinationConfig(endpoints=(etcd.endpoint,))))
        run = Run(folder, run_file, store, {**server.environment, **home})
        stack.callback(run.close)
        run.pace("hold")
        run.start("texas", *(WATCHED if watched else ()))
        run.wait_for(lambda: run.events.of("joined", site="texas"), "the founding")
        run.start("california", *(WATCHED if watched else ()))
        run.wait_for(lambda: run.is_ready("california"), "the other site")
        known = {}
        if watched:
            watchers = Watchers(run, server, stack.enter_context(served(folder)))
            run.pace(SLOW_S)
            run.wait_for(lambda: run.newest >= BROKEN_AT, "the middle of the run")
            watchers.see()
            known = watchers.breaks() | {"at": run.newest}
        run.pace(0.0)
        run.wait_for(lambda: len(run.events.of("run_finished")) == 2, "the end of the run")
        over = time.monotonic()
        run.wait_for(lambda: all(a.poll() == 0 for a in run.agents.values()), "the agents", deadline_s=END_S)
        known |= {"end_s": time.monotonic() - over, "versions": run.newest}
        hashes = {}
        for commit in run.events.of("commit"):
            hashes.setdefault(commit["version"], set()).add(commit["hash"])
        said = "".join(run.said_of(site).read_text() for site in SITES)
        return {**known, "hashes": hashes, "summary": summarize([folder]), "said": said}


@pytest.fixture(scope="module")
def runs(material, tmp_path_factory):
    """The run alone, and the run watched."""
    folder = tmp_path_factory.mktemp("watchers")
    return play(folder / "alone", material, False), play(folder / "watched", material, True)


def test_every_watcher_was_broken_in_the_middle_of_the_run(runs):
    _, watched = runs
    assert BROKEN_AT <= watched["at"] < watched["versions"] - 2
    assert watched["dashboard"] == -signal.SIGKILL
    assert "the process that feeds wandb ended with code -9" in watched["said"]


def test_the_state_of_each_version_is_the_same_with_broken_watchers_as_with_none(runs):
    alone, watched = runs
    assert len(alone["hashes"]) > 10
    assert all(len(found) == 1 for found in alone["hashes"].values())
    assert watched["hashes"] == alone["hashes"]


def test_every_row_is_trained_once_in_both(runs):
    for run in runs:
        rows = run["summary"]["rows"]
        assert run["summary"]["finished"]
        assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)
        works = {name for name, site in run["summary"]["sites"].items() if site["tokens"]}
        assert works == set(SITES)


def test_broken_watchers_do_not_keep_an_agent_from_ending(runs):
    _, watched = runs
    assert watched["end_s"] < 20.0
