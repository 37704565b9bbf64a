"""What every provisioner promises, and what a real Slurm alone can show: ranks stand in for themselves."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, eventually
from provision_contract import ProvisionContract, Subject

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.slurm.provisioner import SlurmProvisioner

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]

NAME = "curtail.day.texas"
SLEEPS = ("--output=/dev/null", "--wrap=sleep 600")
LAUNCHER = """
import json, os, signal, sys, time
from pathlib import Path
folder, leaves = Path(sys.argv[1]), sys.argv[2] == "leaves"
def told(number, frame):
    with (folder / "told").open("a") as file: file.write(f"{os.environ['SLURM_JOB_ID']}\\n")
    if leaves: os._exit(0)
signal.signal(signal.SIGTERM, told)
if os.path.exists(os.environ["CURTAIL_SLURM_WORD"]): os._exit(0)  # told before it came
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
(folder / "leave").unlink(missing_ok=True)
(folder / "said.part").write_text(json.dumps(dict(os.environ)))
(folder / "said.part").rename(folder / "said.json")
with (folder / "starts").open("a") as starts: starts.write(" ".join(sys.argv[3:]) + "\\n")
while not (folder / "leave").exists(): time.sleep(0.01)
os._exit(int((folder / "leave").read_text()))
"""


class Ranks:
    """What stands for torchrun and its ranks: it notes what it sees in a folder, and ends as that says."""

    def __init__(self, folder: Path, *, leaves: bool = True) -> None:
        self.folder = folder
        self.leaves = "leaves" if leaves else "stays"

    def command(self, config: RunConfig, run_file: Path, site: str) -> list[str]:
        return [sys.executable, "-S", "-c", LAUNCHER, str(self.folder), self.leaves, "job-%JOB%"]

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def finish(self, code: int) -> None:
        (self.folder / "leave.part").write_text(str(code))
        (self.folder / "leave.part").rename(self.folder / "leave")

    def said(self, name: str) -> str | None:
        return json.loads((self.folder / "said.json").read_text()).get(name)


@pytest.fixture
def make(
    slurm: Cluster, make_config: Callable[..., RunConfig], tmp_path: Path
) -> Iterator[Callable[..., Subject]]:
    """Make a subject; keywords are of the section `slurm`."""
    made: list[SlurmProvisioner] = []

    def make_one(*, leaves: bool = True, nodes: int = 1, **own: object) -> Subject:
        config = make_config(slurm={"poll_s": 0.2, **own}, nodes=nodes, ranks=nodes)
        ranks = Ranks(tmp_path, leaves=leaves)

        def opened() -> SlurmProvisioner:
            return SlurmProvisioner(config, tmp_path / "run.yaml", "texas", command=ranks.command)

        made.append(opened())
        return Subject(
            provisioner=made[0],
            finish=ranks.finish,
            starts=lambda: len(ranks.lines("starts")),
            refuse=lambda: (tmp_path / "logs").write_text("in the way") and None,
            said=ranks.said,
            reopen=opened,
            wait_s=40.0,
        )

    yield make_one
    slurm.empty()
    for provisioner in made:
        provisioner.close()


class TestSlurm(ProvisionContract):
    """A job of a real cluster."""

    @pytest.fixture
    def subject(self, make: Callable[..., Subject]) -> Subject:
        return make()


def waiting(subject: Subject) -> str:
    return subject.provisioner.poll().waiting


def test_a_partition_that_is_not_there_is_told_in_one_line(make):
    subject = make(partition="nowhere")
    subject.provisioner.start()
    state = subject.eventually(lambda state: not state.running)
    assert state.failure == "sbatch: Batch job submission failed: Invalid partition name specified"
    assert state.code == 1


def test_a_job_that_waits_says_for_what_and_begins_when_there_is_room(slurm, make):
    subject = make()
    blocker = slurm.ask("sbatch", "--parsable", "--nodes=2", "--exclusive", *SLEEPS)
    eventually(lambda: dict(slurm.jobs())[int(blocker)] == "RUNNING")
    subject.eventually(lambda state: not state.running)
    subject.provisioner.start()
    subject.eventually(lambda state: state.waiting in ("PENDING: Resources", "PENDING: Priority"))
    slurm.ask("scancel", blocker)
    subject.eventually(lambda state: state.running and not state.waiting and len(state.ranks) == 1)


def test_a_job_that_waits_never_begins_once_it_was_told_to_end(slurm, make):
    subject = make(extra=["--begin=now+1hour"])
    subject.eventually(lambda state: not state.running)
    subject.provisioner.start()
    subject.eventually(lambda state: state.waiting == "PENDING: BeginTime")
    subject.provisioner.terminate()
    assert subject.eventually(lambda state: not state.running).code == 0
    assert subject.starts() == 0


@pytest.mark.parametrize("how", [[], ["--signal=TERM"]], ids=["plain", "signal"])
def test_ranks_that_leave_when_slurm_is_told_to_end_them_have_left_in_order(slurm, make, tmp_path, how):
    subject = make()
    subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    slurm.ask("scancel", *how, str(number))
    state = subject.eventually(lambda state: not state.running)
    assert (state.code, state.reclaimed) == (0, "Slurm was told to end the job")
    assert (tmp_path / "told").read_text().splitlines() == [str(number)]


@pytest.mark.parametrize("how", [[], ["--signal=TERM"]], ids=["plain", "signal"])
def test_ranks_hear_once_that_they_are_to_end_and_may_take_their_time(slurm, make, tmp_path, how):
    subject = make(leaves=False)
    subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    slurm.ask("scancel", *how, str(number))
    eventually((tmp_path / "told").exists)
    subject.finish(0)
    state = subject.eventually(lambda state: not state.running)
    assert (state.code, bool(state.reclaimed)) == (0, True)
    assert (tmp_path / "told").read_text().splitlines() == [str(number)]


def test_ranks_that_fail_on_the_way_out_have_not_left_in_order(slurm, make, tmp_path):
    subject = make(leaves=False)
    subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    slurm.ask("scancel", "--signal=TERM", str(number))
    eventually((tmp_path / "told").exists)
    subject.finish(7)
    state = subject.eventually(lambda state: not state.running)
    assert (state.code, state.reclaimed) == (7, "")


def test_the_time_limit_ends_a_window(slurm, make):
    subject = make(time_limit_s=60.0, leave_s=20.0)
    subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    subject.wait_s = 75.0
    state = subject.eventually(lambda state: not state.running)
    assert (state.code, state.reclaimed) == (0, "time limit")
    assert dict(slurm.jobs(NAME, over=True))[number] == "COMPLETED"


def test_a_job_that_is_put_back_waits_and_comes_again_as_another(slurm, make, tmp_path):
    subject = make()
    first = subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    slurm.ask("scontrol", "requeue", str(number))
    subject.eventually(lambda state: state.running and state.waiting.startswith("PENDING"))
    slurm.ask(
        "scontrol", "update", f"JobId={number}", "StartTime=now+3seconds"
    )  # sooner, slurmd takes it for the one before
    again = subject.eventually(lambda state: state.running and subject.starts() == 2 and bool(state.ranks))
    assert again.ranks != first.ranks
    assert slurm.jobs(NAME)[0][0] == number
    names = Ranks(tmp_path).lines("starts")
    assert names == [f"job-{number}.0", f"job-{number}.1"]  # a rendezvous of its own each


def test_one_torchrun_runs_on_each_machine_of_a_site(slurm, make):
    subject = make(nodes=2)
    subject.begin()
    eventually(lambda: subject.starts() == 2)
    subject.provisioner.terminate()
    state = subject.eventually(lambda state: not state.running)
    assert state.code == 0


def test_of_two_jobs_of_a_site_the_first_stands(slurm, make):
    subject = make()
    subject.begin()
    [(number, _)] = slurm.jobs(NAME)
    options = ["--parsable", f"--job-name={slurm.name_of(number)}", "--dependency=singleton", *SLEEPS]
    other = int(slurm.ask("sbatch", *options))
    eventually(lambda: other not in dict(slurm.jobs()))
    assert subject.provisioner.poll().running
    assert subject.starts() == 1


def test_a_cluster_that_does_not_answer_leaves_what_was_known(slurm, make, monkeypatch):
    subject = make()
    before = subject.begin()
    broken = slurm.folder / "broken.conf"
    broken.write_text(re.sub(r"(SlurmctldPort)=\d+", r"\1=1", slurm.conf.read_text()))  # nobody is there
    monkeypatch.setenv("SLURM_CONF", str(broken))
    other = subject.reopen()
    eventually(
        lambda: other_says(other) != "it is not known whether ranks of texas run: its first answer is awaited"
    )
    assert "squeue: " in other_says(other)
    assert subject.provisioner.poll() == before
    monkeypatch.undo()
    subject.eventually(lambda state: state.running, other)
    other.close()


def other_says(provisioner: SlurmProvisioner) -> str:
    try:
        return str(provisioner.poll())
    except ProvisionError as error:
        return str(error).partition(";")[0]


def test_a_template_of_ones_own_runs_what_it_says(slurm, make, tmp_path):
    own = tmp_path / "own.sbatch"
    own.write_text("#!/bin/bash\nexport OWN=yes\n{{prologue}}\n{{step}}\ncode=$?\n: {{record}}\nexit $code\n")
    subject = make(template=str(own), prologue="export LINE='two words'")
    subject.begin()
    assert (subject.said("OWN"), subject.said("LINE")) == ("yes", "two words")
    subject.finish(5)
    assert subject.eventually(lambda state: not state.running).code == 5  # without a record: Slurm's word
