"""A site of a real Slurm: its agent, real training, and all that may end a job."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, eventually
from curtail_launch.demo.script import Wishes, learning, prepare, write_run_file

from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.telemetry.record import Record, read_events

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

NAME = "curtail.queued.texas"
ON_S = 90.0
SIZE = {"n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": 64}


class Site:
    """One site's agent, as a process that may be started again and again on the same run."""

    def __init__(self, slurm: Cluster, run_file: Path, folder: Path) -> None:
        self.slurm = slurm
        self.folder = folder
        self._command = [
            sys.executable,
            "-m",
            "curtail_dist.cli.main",
            "site",
            "--unchecked",
            "--site",
            "texas",
        ]
        self._command += ["--config", str(run_file)]
        self.agent: subprocess.Popen[bytes] | None = None

    def be_on(self) -> int:
        """Have an agent running and the site training; return the job's number."""
        if self.agent is None or self.agent.poll() is not None:
            (self.folder / "logs").mkdir(parents=True, exist_ok=True)
            with (self.folder / "logs" / "texas.agent.log").open("ab") as log:
                self.agent = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(lambda: self.stage == "on" and self.steps_since_it_began() > 0, ON_S)
        return self.job

    @property
    def job(self) -> int:
        [(number, _)] = self.slurm.jobs(NAME)
        return number

    @property
    def stage(self) -> str:
        return next((one["stage"] for one in reversed(self.events("stage"))), "off")

    def steps_since_it_began(self) -> int:
        """Inner steps of the ranks that came last."""
        names = [one.event for one in self.events("epoch", "step")]
        return len(names) - len(names[: _last(names, "epoch") + 1])

    def events(self, *names: str) -> list[Record]:
        if not (self.folder / "events").is_dir():
            return []
        return [one for one in read_events(self.folder) if one.event in names]

    def losses(self) -> list[str]:
        return [one.event for one in self.events("ranks_died", "round_discarded")]

    def has_left(self) -> int:
        """How often the site has left its run in order."""
        return len(self.events("drained"))

    def close(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()


def _last(names: list[str], name: str) -> int:
    return max((at for at, one in enumerate(names) if one == name), default=-1)


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("queued")
    material = prepare(Wishes(out=folder / "material", day="short", minutes=0.2))
    learned = learning(material)
    run = folder / "run"
    with EmbeddedEtcd() as etcd:
        tree = {
            **learned,
            "run": {"name": "queued", "directory": str(run), "seed": 1},
            "coordination": {"endpoints": [etcd.endpoint]},
            "policy": {"poll_s": 0.5},
            "round": {"steps": 20},
            "model": {**learned["model"], **SIZE},
            "data": {**learned["data"], "passes": 1000},
            "sites": {
                "texas": {
                    "signal": {"kind": "constant", "value": 10.0},
                    "power": {"train_w": 100.0, "idle_w": 10.0},
                    "provisioner": {"kind": "slurm", "slurm": {"poll_s": 0.5}},
                }
            },
        }
        site = Site(cluster, write_run_file(tree, run), run)
        try:
            yield site
        finally:
            site.close()
            cluster.empty()


@pytest.fixture
def site(whole: Site) -> Iterator[Site]:
    """The site, on; nothing has been lost when the test is over."""
    whole.be_on()
    yield whole
    assert whole.losses() == [], (whole.folder / "logs" / "texas.log").read_text()[-3000:]


def test_the_ranks_of_a_job_train_and_commit(site):
    eventually(lambda: len(site.events("commit")) > 1)
    log = (site.folder / "logs" / "texas.log").read_text()
    assert "Traceback" not in log


def test_an_agent_that_was_killed_leaves_its_job_and_the_next_one_finds_it(site):
    job, started = site.job, len(site.events("ranks_started"))
    site.close()
    before = len(site.events("step"))
    eventually(lambda: len(site.events("step")) > before + 5)
    assert site.slurm.jobs(NAME) == [(job, "RUNNING")]
    site.agent = None
    assert site.be_on() == job
    eventually(lambda: len(site.events("ranks_started")) == started + 1)
    eventually(lambda: site.stage == "on")
    assert site.slurm.jobs(NAME) == [(job, "RUNNING")]


def test_a_job_that_slurm_is_told_to_end_leaves_in_order_and_the_site_comes_back(site):
    job, left = site.job, site.has_left()
    site.slurm.ask("scancel", str(job))
    eventually(lambda: site.has_left() == left + 1)
    eventually(lambda: any(number != job for number, _ in site.slurm.jobs(NAME)))
    entered = [one["reason"] for one in site.events("stage") if one["stage"] == "off"]
    assert entered[-1] == "its machine was taken back: Slurm was told to end the job"
    assert site.be_on() != job


def test_a_job_that_is_put_back_leaves_in_order_and_is_the_same_when_it_comes_again(site):
    job, left = site.job, site.has_left()
    site.slurm.ask("scontrol", "requeue", str(job))
    eventually(lambda: site.has_left() == left + 1)
    eventually(lambda: site.slurm.jobs(NAME) == [(job, "PENDING")])
    eventually(lambda: site.stage == "joining")
    site.slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now+3seconds")
    assert site.be_on() == job


def test_an_agent_that_is_told_to_end_takes_its_job_along(site):
    left = site.has_left()
    site.agent.send_signal(signal.SIGTERM)
    assert site.agent.wait(60) == 130
    assert site.has_left() == left + 1
    assert site.slurm.jobs(NAME) == []
