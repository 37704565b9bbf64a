"""GPU slots of one machine: who has them, who waits for them, and that nobody has to give them back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import eventually, launcher, process

from curtail_dist.config import RunConfig
from curtail_dist.errors import ConfigError, ProvisionError
from curtail_dist.membership.provision import ProcessProvisioner, RanksState
from curtail_dist.membership.provision.processes import children
from curtail_dist.membership.provision.slots import Refused, Slots, Taken, own_directory


def taken(found: Taken | Refused) -> Taken:
    assert isinstance(found, Taken)
    return found


@pytest.fixture
def two_sites(make_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., RunConfig]:
    def make(slots: list[int], **ranks: int) -> RunConfig:
        site = {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 1.0}}
        shared = {"slots": slots, "slots_directory": str(tmp_path / "slots")}
        return make_config(
            sites={
                name: {**site, "provisioner": {**shared, "ranks": ranks.get(name, 1)}}
                for name in ("texas", "ohio")
            }
        )

    return make


def provisioner(config: RunConfig, site: str, folder: Path) -> ProcessProvisioner:
    folder.mkdir(exist_ok=True)
    return process(config, folder, site=site)


def begun(one: ProcessProvisioner, folder: Path) -> None:
    eventually(lambda: one.poll().ranks != () and (folder / "starts").exists())


def visible(folder: Path) -> str:
    return json.loads((folder / "said.json").read_text())["CUDA_VISIBLE_DEVICES"]


def test_the_lowest_free_slots_are_taken_and_come_free_when_their_files_close(tmp_path):
    slots = Slots([3, 0, 2, 1], tmp_path)
    first = taken(slots.take(2))
    second = taken(slots.take(1))
    assert (first.numbers, second.numbers) == ((0, 1), (2,))
    first.close()
    third = taken(slots.take(2))
    assert third.numbers == (0, 1)
    second.close()
    third.close()


def test_too_few_free_slots_are_none_and_the_free_ones_stay_free(tmp_path):
    slots = Slots([0, 1, 2, 3], tmp_path)
    first = taken(slots.take(3))
    refused = slots.take(2)
    assert refused == Refused(reason="no free GPU slot: 2 wanted, 1 of 4 free")
    other = taken(slots.take(1))
    assert other.numbers == (3,)
    first.close()
    other.close()


def test_a_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProvisionError, match=r"set provisioner\.slots_directory"):
        Slots([0], tmp_path / "file").take(1)


def test_without_a_directory_slots_are_this_users_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert own_directory() == tmp_path / "curtail-slots"
    taken(Slots([0]).take(1)).close()
    assert (tmp_path / "curtail-slots").stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert own_directory() == Path(f"/tmp/curtail-{os.getuid()}")


@pytest.mark.skipif(os.getuid() != 0, reason="gives a directory to somebody else")
def test_locks_of_another_user_are_not_trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "curtail-slots").mkdir()
    os.chown(tmp_path / "curtail-slots", 12345, -1)
    with pytest.raises(ProvisionError, match="belongs to another user"):
        Slots([0]).take(1)


@pytest.mark.integration
def test_of_two_sites_and_one_slot_the_second_starts_when_the_first_has_left(two_sites, tmp_path):
    config = two_sites([5])
    texas = provisioner(config, "texas", tmp_path / "t")
    ohio = provisioner(config, "ohio", tmp_path / "o")
    try:
        texas.start()
        begun(texas, tmp_path / "t")
        ohio.start()
        state = ohio.poll()
        assert (state.running, state.behind, state.pid) == (True, True, None)
        assert state.waiting == "no free GPU slot: 1 wanted, 0 of 1 free"
        ohio.start()  # it waits on, and not twice
        assert ohio.poll() == state
        (tmp_path / "t" / "leave").write_text("0")
        begun(ohio, tmp_path / "o")
        assert not texas.poll().running
        assert (ohio.poll().waiting, ohio.poll().behind) == ("", False)
        assert (visible(tmp_path / "t"), visible(tmp_path / "o")) == ("5", "5")
    finally:
        texas.close()
        ohio.close()


@pytest.mark.integration
@pytest.mark.parametrize(("end", "code"), [("terminate", 0), ("kill", 137), ("close", 137)])
def test_a_site_that_waits_for_a_slot_can_be_told_to_end(two_sites, tmp_path, end, code):
    config = two_sites([0, 1], ohio=2)
    texas = provisioner(config, "texas", tmp_path / "t")
    ohio = provisioner(config, "ohio", tmp_path / "o")
    try:
        texas.start()
        begun(texas, tmp_path / "t")
        ohio.start()
        assert ohio.poll().waiting == "no free GPU slot: 2 wanted, 1 of 2 free"
        getattr(ohio, end)()
        assert ohio.poll() == RanksState(running=False, code=code)
        texas.close()
        assert ohio.poll() == RanksState(running=False, code=code)
        assert not (tmp_path / "o" / "starts").exists()
        ohio.start()
        begun(ohio, tmp_path / "o")
        assert visible(tmp_path / "o") == "0,1"
    finally:
        texas.close()
        ohio.close()


AGENT = """
import sys, time
from pathlib import Path
from curtail_dist.config import RunConfig
from curtail_dist.membership.provision import ProcessProvisioner
config = RunConfig.from_yaml(sys.argv[1])
provisioner = ProcessProvisioner(config, Path(sys.argv[1]), "texas", command=lambda *_: sys.argv[2:])
provisioner.start()
while not provisioner.poll().ranks: time.sleep(0.01)
print(provisioner.poll().pid, flush=True)
time.sleep(600)
"""


@pytest.mark.integration
@pytest.mark.fault
@pytest.mark.parametrize("victim", ["agent", "leash", "launcher"])
def test_slots_come_free_whoever_is_killed_and_not_before_the_ranks_are_gone(two_sites, tmp_path, victim):
    config = two_sites([0])
    config.to_yaml(tmp_path / "run.yaml")
    (tmp_path / "t").mkdir()
    command = [sys.executable, "-c", AGENT, str(tmp_path / "run.yaml"), *launcher(tmp_path / "t")]
    ohio = provisioner(config, "ohio", tmp_path / "o")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            leash = int(agent.stdout.readline())
            below = children(leash)[0]
            ohio.start()
            assert ohio.poll().waiting
            os.kill({"agent": agent.pid, "leash": leash, "launcher": below}[victim], signal.SIGKILL)
            begun(ohio, tmp_path / "o")
            assert not Path(f"/proc/{below}/exe").exists()
        finally:
            agent.kill()
            ohio.close()


@pytest.mark.integration
@pytest.mark.fault
def test_a_slot_stays_taken_while_a_launcher_outlives_its_leash(two_sites, tmp_path):
    config = two_sites([0])
    (tmp_path / "t").mkdir()
    texas = process(config, tmp_path / "t", tells=False)
    ohio = provisioner(config, "ohio", tmp_path / "o")
    try:
        texas.start()
        begun(texas, tmp_path / "t")
        leash, rank = texas.poll().pid, texas.poll().ranks[0]
        assert leash is not None
        below = children(leash)[0]
        ohio.start()
        os.kill(leash, signal.SIGKILL)
        eventually(lambda: not texas.poll().running)
        assert ohio.poll().waiting
        os.kill(below, signal.SIGKILL)
        os.kill(rank, signal.SIGKILL)
        begun(ohio, tmp_path / "o")
    finally:
        texas.close()
        ohio.close()


@pytest.mark.parametrize(
    ("provisioner", "said"),
    [
        ({"slots": [0, 0]}, "distinct numbers from 0 on"),
        ({"slots": [-1]}, "distinct numbers from 0 on"),
        ({"slots": [0], "ranks": 2}, "at least one for each of 2 ranks"),
        ({"slots_directory": "/x"}, "with provisioner.slots"),
        ({"slots": [0], "environment": {"CUDA_VISIBLE_DEVICES": "1"}}, "which set it"),
        ({"kind": "command"}, "provisioner.command is None; it must be given"),
        ({"nodes": 2, "ranks": 2}, "1 with kind process"),
        ({"nodes": 2, "ranks": 3}, "a multiple of provisioner.nodes, 2"),
        ({"kind": "abacus"}, "one of process, command, slurm, kubernetes, exalsius"),
        ({"command": {"start": ["a"], "stop": ["b"], "poll": ["c"]}}, "it is process"),
        ({"kind": "command", "command": {"start": [], "stop": ["b"], "poll": ["c"]}}, "a program"),
    ],
)
def test_what_cannot_be_is_refused_where_the_run_file_is_read(make_config, provisioner, said):
    site = {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 1.0}}
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        make_config(sites={"texas": {**site, "provisioner": provisioner}})
