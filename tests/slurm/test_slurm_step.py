"""How SIGTERM reaches the ranks of a step, told with processes of this machine; no Slurm is needed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import eventually

from curtail_dist.membership.provision.slurm.step import TOLD

pytestmark = pytest.mark.integration

PROVISION = "curtail_dist.membership.provision"
# Like torchrun it passes SIGTERM on and ends with 1 where it hears it, and else as its rank ends.
TORCHRUN = """
import signal, subprocess, sys
rank = subprocess.Popen([sys.executable, *sys.argv[1:]])
def told(number, frame):
    rank.send_signal(number)
    rank.wait()
    sys.exit(1)
signal.signal(signal.SIGTERM, told)
code = rank.wait()
sys.exit(abs(code))
"""
RANK = """
import os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "argv").write_text(repr(sys.argv))
(folder / "name").write_text(__name__)
if sys.argv[2] == "takes part":
    def told(number, frame):
        with (folder / "told").open("a") as file: file.write("x")
    signal.signal(signal.SIGTERM, told)
(folder / "up").touch()
while not (folder / "leave").exists(): time.sleep(0.01)
sys.exit(int((folder / "leave").read_text()))
"""


@pytest.fixture
def step(tmp_path):
    """Start a step with what stands for torchrun, and a rank; as in Slurm, SIGTERM goes to all processes."""
    (tmp_path / "program.py").write_text(RANK)
    begun: list[subprocess.Popen[bytes]] = []

    def start(what: str) -> subprocess.Popen[bytes]:
        rank = ["-m", f"{PROVISION}.slurm.rank", str(tmp_path / "program.py"), str(tmp_path), what, "%JOB%"]
        command = [sys.executable, "-m", f"{PROVISION}.slurm.step", sys.executable, "-c", TORCHRUN, *rank]
        environment = {**os.environ, "SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "3"}
        begun.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return begun[-1]

    yield start
    for one in begun:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def tell(step: subprocess.Popen[bytes]) -> None:
    os.killpg(step.pid, signal.SIGTERM)


def finish(folder: Path, code: int) -> None:
    (folder / "leave.part").write_text(str(code))
    (folder / "leave.part").rename(folder / "leave")


def test_a_rank_hears_once_and_leaves_in_its_own_time(step, tmp_path):
    running = step("takes part")
    eventually((tmp_path / "up").exists)
    tell(running)
    eventually((tmp_path / "told").exists)
    assert running.poll() is None
    finish(tmp_path, 0)
    assert running.wait(20) == TOLD
    assert (tmp_path / "told").read_text() == "x"


def test_a_rank_that_fails_on_its_way_out_ends_with_its_code(step, tmp_path):
    running = step("takes part")
    eventually((tmp_path / "up").exists)
    tell(running)
    eventually((tmp_path / "told").exists)
    finish(tmp_path, 7)
    assert running.wait(20) == 7


def test_a_rank_that_takes_no_part_yet_ends_in_order_at_once(step, tmp_path):
    running = step("loads")
    eventually((tmp_path / "up").exists)
    tell(running)
    assert running.wait(20) == TOLD


def test_a_step_that_nobody_told_ends_as_its_ranks_do(step, tmp_path):
    running = step("takes part")
    finish(tmp_path, 0)
    assert running.wait(20) == 0


def test_the_rank_program_is_the_main_one_with_its_own_arguments(step, tmp_path):
    running = step("takes part")
    finish(tmp_path, 0)
    running.wait(20)
    assert (tmp_path / "name").read_text() == "__main__"
    argv = [str(tmp_path / "program.py"), str(tmp_path), "takes part", "12.3"]
    assert (tmp_path / "argv").read_text() == repr(argv)


@pytest.mark.parametrize(("restarts", "code"), [("0", 0), ("1", 1)], ids=["first", "restarted"])
def test_a_rank_that_comes_when_all_were_told_ends_in_order_unless_another_died(tmp_path, restarts, code):
    word = tmp_path / "told"
    word.touch()
    command = [sys.executable, "-m", f"{PROVISION}.slurm.rank", str(tmp_path / "never.py")]
    done = subprocess.run(
        command,
        env={**os.environ, "CURTAIL_SLURM_WORD": str(word), "TORCHELASTIC_RESTART_COUNT": restarts},
        timeout=20,
        check=False,
    )
    assert done.returncode == code
