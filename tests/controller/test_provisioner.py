"""What every provisioner promises, and what only real processes can show."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import ProcessProvisioner, Provisioner, ranks_below
from curtail_dist.membership.provision.process import compile_caches, torchrun_command
from curtail_dist.testing.provisioner import ScriptedProvisioner

WAIT_S = 20.0

LAUNCHER = """
import os, signal, subprocess, sys
code = "import os, time\\nwhile not os.path.exists({leave!r}): time.sleep(0.01)\\nos._exit({code})"
rank = subprocess.Popen(
    [sys.executable, "-S", "-c", code], env={{**os.environ, "LOCAL_RANK": "0"}}, start_new_session=True
)
if {tells}: signal.signal(signal.SIGTERM, lambda *_: rank.terminate())
else: signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.exit(abs(rank.wait()))
"""


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@dataclass
class Launch:
    """A provisioner, and a way to let its ranks end by themselves with code 3."""

    provisioner: Provisioner
    finish: Callable[[], None]


def process(config: RunConfig, folder: Path, *, tells: bool = True) -> Launch:
    leave = folder / "leave"
    script = LAUNCHER.format(leave=str(leave), code=3, tells=tells)

    def command(*_: object) -> list[str]:
        leave.unlink(missing_ok=True)
        return [sys.executable, "-S", "-c", script]

    return Launch(ProcessProvisioner(config, folder / "run.yaml", "texas", command=command), leave.touch)


@pytest.fixture(params=["process", "scripted"])
def launch(request: pytest.FixtureRequest, config: RunConfig, tmp_path: Path) -> Iterator[Launch]:
    if request.param == "process":
        made = process(config, tmp_path)
    else:
        scripted = ScriptedProvisioner()
        made = Launch(scripted, lambda: scripted.finish(3))
    yield made
    made.provisioner.close()


def test_nothing_runs_and_nothing_has_ended_before_the_first_start(launch):
    state = launch.provisioner.poll()
    assert (state.running, state.pid, state.code, state.ranks) == (False, None, None, ())


def test_a_start_runs_ranks_and_a_second_start_changes_nothing(launch):
    launch.provisioner.start()
    eventually(lambda: len(launch.provisioner.poll().ranks) == 1)
    before = launch.provisioner.poll()
    assert before.running
    assert before.code is None
    launch.provisioner.start()
    assert launch.provisioner.poll() == before


def test_ranks_that_end_by_themselves_leave_their_code(launch):
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    launch.finish()
    eventually(lambda: not launch.provisioner.poll().running)
    assert launch.provisioner.poll().code == 3
    assert launch.provisioner.poll().ranks == ()


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_stopped_ranks_are_gone_and_stopping_again_changes_nothing(launch, end):
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    getattr(launch.provisioner, end)()
    eventually(lambda: not launch.provisioner.poll().running)
    state = launch.provisioner.poll()
    assert state.code not in (None, 0)
    getattr(launch.provisioner, end)()
    assert launch.provisioner.poll() == state


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_ending_what_was_never_started_is_no_error(launch, end):
    getattr(launch.provisioner, end)()
    assert launch.provisioner.poll().code is None


def test_another_start_after_an_end_runs_other_ranks(launch):
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    before = launch.provisioner.poll().ranks
    launch.provisioner.close()
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    assert not set(before) & set(launch.provisioner.poll().ranks)


def test_closing_ends_what_runs_and_closing_again_is_harmless(launch):
    launch.provisioner.start()
    launch.provisioner.close()
    launch.provisioner.close()
    assert not launch.provisioner.poll().running


@pytest.mark.integration
def test_ranks_in_sessions_of_their_own_die_even_if_their_launcher_ignores_sigterm(config, tmp_path):
    launch = process(config, tmp_path, tells=False)
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    rank = launch.provisioner.poll().ranks[0]
    assert os.getsid(rank) == rank
    launch.provisioner.terminate()
    launch.provisioner.kill()
    eventually(lambda: not launch.provisioner.poll().running)
    assert not alive(rank)


@pytest.mark.integration
@pytest.mark.fault
def test_a_launcher_that_is_killed_takes_its_ranks_along(config, tmp_path):
    launch = process(config, tmp_path)
    launch.provisioner.start()
    eventually(lambda: launch.provisioner.poll().ranks != ())
    state = launch.provisioner.poll()
    launcher = int(Path(f"/proc/{state.ranks[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(launcher, signal.SIGKILL)
    eventually(lambda: not launch.provisioner.poll().running)
    assert launch.provisioner.poll().code == 128 + signal.SIGKILL
    assert not alive(state.ranks[0])


AGENT = """
import os, sys, time
from pathlib import Path
from curtail_dist.config import RunConfig
from curtail_dist.membership.provision import ProcessProvisioner
config = RunConfig.from_yaml(sys.argv[1])
launcher = [sys.executable, "-S", "-c", sys.argv[2]]
provisioner = ProcessProvisioner(config, Path(sys.argv[1]), "texas", command=lambda *_: launcher)
provisioner.start()
while not provisioner.poll().ranks: time.sleep(0.01)
state = provisioner.poll()
print(state.pid, state.ranks[0], flush=True)
time.sleep(600)
"""


@pytest.mark.integration
@pytest.mark.fault
def test_an_agent_that_is_killed_leaves_no_rank_behind(config, tmp_path):
    run_file = tmp_path / "run.yaml"
    config.to_yaml(run_file)
    launcher = LAUNCHER.format(leave=str(tmp_path / "leave"), code=0, tells=True)
    command = [sys.executable, "-c", AGENT, str(run_file), launcher]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        leash, rank = (int(word) for word in agent.stdout.readline().split())
        assert ranks_below(leash) == (rank,)
        agent.kill()
    eventually(lambda: not alive(rank) and not alive(leash))


def test_ranks_inherit_the_run_files_environment_and_write_to_the_sites_log(make_config, tmp_path):
    config = make_config(
        sites={
            "texas": {
                "signal": {"kind": "constant", "value": 1.0},
                "power": {"train_w": 1.0, "idle_w": 1.0},
                "provisioner": {"environment": {"COLOUR": "green"}},
            }
        },
    )
    says = "import os; print(os.environ['COLOUR'], os.environ['OMP_NUM_THREADS'])"
    provisioner = ProcessProvisioner(
        config, tmp_path, "texas", command=lambda *_: [sys.executable, "-S", "-c", says]
    )
    provisioner.start()
    eventually(lambda: not provisioner.poll().running)
    assert provisioner.poll().code == 0
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    assert (tmp_path / "logs" / "texas.log").read_text() == f"green {threads}\n"


def says_its_environment(config: RunConfig, folder: Path, *names: str) -> dict[str, str | None]:
    """Start a command that says some of its variables and return them."""
    says = f"import json, os; print(json.dumps({{name: os.environ.get(name) for name in {names!r}}}))"
    provisioner = ProcessProvisioner(
        config, folder, "texas", command=lambda *_: [sys.executable, "-S", "-c", says]
    )
    provisioner.start({"CURTAIL_DECIDED_AT": "12.5"})
    eventually(lambda: not provisioner.poll().running)
    assert provisioner.poll().code == 0
    return json.loads((folder / "logs" / "texas.log").read_text())


CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def test_a_start_passes_its_variables_on(config, tmp_path):
    assert says_its_environment(config, tmp_path, "CURTAIL_DECIDED_AT") == {"CURTAIL_DECIDED_AT": "12.5"}


def test_compiled_kernels_are_kept_on_the_sites_disk_from_one_start_to_the_next(
    config, tmp_path, monkeypatch
):
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    said = says_its_environment(config, tmp_path, *CACHES)
    assert said == {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache" / "texas" / "inductor"),
        "TRITON_CACHE_DIR": str(tmp_path / "cache" / "texas" / "triton"),
    }
    assert all(Path(folder).is_dir() for folder in said.values())


def test_a_cache_that_the_user_chose_stands(make_config, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "own"))
    site = {
        "signal": {"kind": "constant", "value": 1.0},
        "power": {"train_w": 1.0, "idle_w": 1.0},
        "provisioner": {
            "compile_cache": str(tmp_path / "fast"),
            "environment": {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "there")},
        },
    }
    config = make_config(sites={"texas": site})
    assert compile_caches(config, "texas")["TRITON_CACHE_DIR"] == str(tmp_path / "fast" / "triton")
    said = says_its_environment(config, tmp_path, *CACHES)
    assert said == {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "there"),
        "TRITON_CACHE_DIR": str(tmp_path / "own"),
    }


def test_a_command_that_cannot_be_built_up_is_a_provision_error(config, tmp_path):
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ProvisionError, match="texas cannot be started"):
        ProcessProvisioner(config, tmp_path, "texas", command=lambda *_: ["true"]).start()


def test_torchrun_starts_modules_and_scripts(make_config):
    module = torchrun_command(make_config(), Path("/run.yaml"), "texas", "day.texas.1")
    assert module[-6:] == ["-m", "curtail_launch.train", "--config", "/run.yaml", "--site", "texas"]
    assert module[module.index("--rdzv-id") + 1] == "day.texas.1"
    script = torchrun_command(
        make_config(train={"program": "/own/train.py"}), Path("/run.yaml"), "texas", "x"
    )
    assert script[-5:] == ["/own/train.py", "--config", "/run.yaml", "--site", "texas"]
    assert script[-6] != "-m"
