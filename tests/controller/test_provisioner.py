"""What every provisioner promises, and what only processes of this machine can show."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from launching import alive, commanded, eventually, in_the_way, launcher, on_disk, process
from provision_contract import ProvisionContract, Subject

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import ProcessProvisioner, ranks_below
from curtail_dist.membership.provision.command import CommandProvisioner
from curtail_dist.membership.provision.torchrun import compile_caches
from curtail_dist.testing.provisioner import STOPPED, ScriptedProvisioner


class TestProcess(ProvisionContract):
    """Processes of this machine."""

    @pytest.fixture
    def subject(self, config, tmp_path) -> Iterator[Subject]:
        subject = on_disk(process(config, tmp_path), tmp_path)
        yield subject
        subject.provisioner.close()


class TestCommand(ProvisionContract):
    """The commands that are shipped as an example."""

    @pytest.fixture
    def subject(self, make_config, tmp_path) -> Iterator[Subject]:
        config = make_config(sites={"texas": commanded(tmp_path)})
        subject = on_disk(CommandProvisioner(config, tmp_path / "run.yaml", "texas"), tmp_path)
        subject.reopen = lambda: CommandProvisioner(config, tmp_path / "run.yaml", "texas")
        subject.refuse = partial(in_the_way, tmp_path / "command" / "texas.lock")
        yield subject
        subject.provisioner.close()


class TestScripted(ProvisionContract):
    """The double by which agents are tested."""

    @pytest.fixture
    def subject(self) -> Subject:
        scripted = ScriptedProvisioner()
        return Subject(
            provisioner=scripted,
            finish=scripted.finish,
            starts=lambda: scripted.starts,
            refuse=lambda: scripted.refusals.append("no room"),
            said=lambda name: scripted.variables.get(name),
            told=STOPPED,
        )


def test_ranks_that_are_started_again_have_other_ids(config, tmp_path):
    provisioner = process(config, tmp_path)
    provisioner.start()
    eventually(lambda: provisioner.poll().ranks != ())
    before = provisioner.poll().ranks
    provisioner.close()
    provisioner.start()
    eventually(lambda: provisioner.poll().ranks != ())
    assert not set(before) & set(provisioner.poll().ranks)
    provisioner.close()


@pytest.mark.integration
def test_ranks_in_sessions_of_their_own_die_even_if_their_launcher_ignores_sigterm(config, tmp_path):
    provisioner = process(config, tmp_path, tells=False)
    provisioner.start()
    eventually(lambda: provisioner.poll().ranks != ())
    rank = provisioner.poll().ranks[0]
    assert os.getsid(rank) == rank
    provisioner.terminate()
    provisioner.kill()
    eventually(lambda: not provisioner.poll().running)
    assert not alive(rank)


@pytest.mark.integration
@pytest.mark.fault
def test_a_launcher_that_is_killed_takes_its_ranks_along(config, tmp_path):
    provisioner = process(config, tmp_path)
    provisioner.start()
    eventually(lambda: provisioner.poll().ranks != ())
    rank = provisioner.poll().ranks[0]
    parent = int(Path(f"/proc/{rank}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    eventually(lambda: not provisioner.poll().running)
    assert provisioner.poll().code == 128 + signal.SIGKILL
    assert not alive(rank)


AGENT = """
import os, sys, time
from pathlib import Path
from curtail_dist.config import RunConfig
from curtail_dist.membership.provision import ProcessProvisioner
config = RunConfig.from_yaml(sys.argv[1])
provisioner = ProcessProvisioner(config, Path(sys.argv[1]), "texas", command=lambda *_: sys.argv[2:])
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
    command = [sys.executable, "-c", AGENT, str(run_file), *launcher(tmp_path)]
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


def test_the_log_of_ranks_that_were_told_to_end_says_so_at_its_end(config, tmp_path):
    provisioner = process(config, tmp_path)
    try:
        provisioner.start()
        eventually(lambda: (tmp_path / "starts").exists())
        provisioner.terminate()
        eventually(lambda: not provisioner.poll().running)
    finally:
        provisioner.close()
    assert log_of(tmp_path).endswith("told to end, and has: torchrun's SignalException above is no failure\n")


def test_the_log_of_ranks_that_end_by_themselves_says_nothing_of_the_kind(config, tmp_path):
    provisioner = process(config, tmp_path)
    try:
        provisioner.start()
        eventually(lambda: (tmp_path / "starts").exists())
        (tmp_path / "leave").write_text("1")
        eventually(lambda: not provisioner.poll().running)
    finally:
        provisioner.close()
    assert "told to end" not in log_of(tmp_path)


def log_of(directory):
    return (directory / "logs" / "texas.log").read_text()
