"""Ranks by commands of the user's own: what the commands are told, and what is made of their answers."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from launching import eventually

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import RanksState, open_provisioner
from curtail_dist.membership.provision.command import CommandProvisioner

LONG = "exec sleep 600"


@dataclass
class Switch:
    """Three commands in place of a power switch's, whose doings a test writes down beforehand."""

    folder: Path
    make_config: Callable[..., RunConfig]
    opened: list[CommandProvisioner] = field(default_factory=list)

    def open(self, **command: object) -> CommandProvisioner:
        shell = f'cd "{self.folder}"; echo $0 ${{CURTAIL_FORCE:-}} >>calls; . ./$0'
        asked = f'cd "{self.folder}"; . ./$0'
        given = {
            "start": ["sh", "-c", shell, "start"],
            "stop": ["sh", "-c", shell, "stop"],
            "poll": ["sh", "-c", asked, "poll"],
            "every_s": 0.02,
            **command,
        }
        config = self.make_config(
            sites={
                "texas": {
                    "signal": {"kind": "constant", "value": 1.0},
                    "power": {"train_w": 1.0, "idle_w": 1.0},
                    "provisioner": {"kind": "command", "command": given, "environment": {"COLOUR": "green"}},
                }
            }
        )
        made = open_provisioner(config, self.folder / "run.yaml", "texas")
        assert isinstance(made, CommandProvisioner)
        self.opened.append(made)
        return made

    def does(self, **shell: str) -> None:
        """Have commands do this from now on."""
        for name, text in shell.items():
            (self.folder / f"{name}.part").write_text(text + "\n")
            (self.folder / f"{name}.part").rename(self.folder / name)

    @property
    def calls(self) -> list[str]:
        found = self.folder / "calls"
        return found.read_text().split("\n")[:-1] if found.exists() else []


@pytest.fixture
def switch(tmp_path: Path, make_config: Callable[..., RunConfig]) -> Iterator[Switch]:
    made = Switch(tmp_path, make_config)
    # What runs is a file: `start` makes it, `stop` removes it.
    made.does(start="touch on", stop="rm -f on", poll="test -e on && exit 0; echo ended; exit 1")
    yield made
    made.does(stop="rm -f on", poll="test -e on && exit 0; echo ended; exit 1")
    for one in made.opened:
        one.close()


def test_commands_are_told_whom_it_is_about(switch, tmp_path):
    switch.does(
        start="env | sort >told; touch on",
        poll="test -e polled || { env >p; mv p polled; }; test -e on && exit 0; echo ended; exit 1",
    )
    one = switch.open()
    one.start({"CURTAIL_DECIDED_AT": "12.5"})
    eventually((tmp_path / "on").exists)
    told = dict(line.split("=", 1) for line in (tmp_path / "told").read_text().splitlines() if "=" in line)
    assert told["CURTAIL_RUN"] == "day"
    assert told["CURTAIL_SITE"] == "texas"
    assert told["CURTAIL_RUN_FILE"] == str(tmp_path / "run.yaml")
    assert told["CURTAIL_DIRECTORY"] == str(tmp_path)
    assert told["CURTAIL_DECIDED_AT"] == "12.5"
    assert told["COLOUR"] == "green"
    assert "-m torch.distributed.run --nnodes 1" in told["CURTAIL_TORCHRUN"]
    assert "CURTAIL_SITE=texas" in (tmp_path / "polled").read_text()


def test_nothing_is_said_of_ranks_before_the_poll_command_has_said_it(switch):
    switch.does(poll="exit 7")
    one = switch.open()
    with pytest.raises(
        ProvisionError, match="not known whether ranks of texas run: the poll command ended with"
    ):
        one.poll()
    switch.does(poll="echo ended; exit 1")
    eventually(lambda: known(one) == RanksState(running=False))


def known(one: CommandProvisioner) -> RanksState | None:
    try:
        return one.poll()
    except ProvisionError:
        return None


def test_a_poll_that_fails_once_changes_nothing_and_one_that_goes_on_failing_is_told(switch):
    one = switch.open()
    one.start()
    eventually(lambda: switch.calls == ["start"] and one.poll().running)
    switch.does(poll="test -e once && exit 0; touch once; exit 9")
    eventually((switch.folder / "once").exists)
    assert one.poll().running
    switch.does(poll="echo the net is down; exit 1")
    eventually(lambda: known(one) is None)
    with pytest.raises(ProvisionError, match="ended with code 1 and said: the net is down"):
        one.poll()


def test_what_ranks_wait_for_is_the_last_line_of_the_poll_command(switch):
    switch.does(
        start="touch on; touch boots",
        poll="test -e on || { echo ended; exit 1; }\n"
        "test -e boots && { echo first; echo the machine boots; exit 3; }; exit 0",
    )
    one = switch.open(lingers=True)
    one.start()
    eventually(lambda: one.poll().waiting == "the machine boots")
    assert one.poll() == RanksState(running=True, waiting="the machine boots", lingers=True)
    (switch.folder / "boots").unlink()
    eventually(lambda: one.poll() == RanksState(running=True, lingers=True))


def test_a_machine_that_is_taken_back_is_no_failure(switch):
    one = switch.open()
    one.start()
    eventually(lambda: switch.calls == ["start"])
    switch.does(poll="echo spot price above the bid; exit 4")
    eventually(lambda: not one.poll().running)
    assert one.poll() == RanksState(running=False, code=0, reclaimed="spot price above the bid")


@pytest.mark.parametrize(("said", "code"), [("ended", 1), ("ended 0", 0), ("ended 9", 9)])
def test_ranks_that_end_unasked_have_failed_unless_it_is_said_that_they_have_not(switch, said, code):
    one = switch.open()
    one.start()
    eventually(lambda: switch.calls == ["start"])
    switch.does(poll=f"echo {said}; exit 1")
    eventually(lambda: not one.poll().running)
    assert one.poll().code == code


def test_a_start_command_that_fails_is_told_with_its_last_line(switch):
    switch.does(start="echo trying; echo no credit >&2; exit 5")
    one = switch.open()
    one.start()
    eventually(lambda: not one.poll().running)
    assert one.poll().code == 5
    assert one.poll().failure == "the start command ended with code 5 and said: no credit"
    assert "trying\nno credit\n" in (switch.folder / "logs" / "texas.log").read_text()


def test_a_program_that_is_not_there_is_told(switch):
    one = switch.open(start=["/no/such/program"])
    one.start()
    eventually(lambda: not one.poll().running)
    assert "No such file or directory: /no/such/program" in one.poll().failure


def test_a_start_command_that_fails_where_ranks_run_all_the_same_is_no_failure(switch):
    switch.does(start="touch on; echo they run already; exit 1")
    one = switch.open()
    one.start()
    eventually(lambda: switch.calls == ["start"])
    switch.does(poll="touch looked; test -e on && exit 0; echo ended; exit 1")
    eventually((switch.folder / "looked").exists)
    assert one.poll() == RanksState(running=True)


def test_a_start_command_that_is_late_is_killed_with_what_it_started_and_told(switch):
    switch.does(start="sleep 600 & echo $! >child; echo slow; wait")
    one = switch.open(start_s=0.3)
    one.start()
    eventually(lambda: not one.poll().running)
    assert one.poll().failure == "the start command was killed, being late, and said: slow"
    child = int((switch.folder / "child").read_text())
    eventually(lambda: gone(child))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_no_call_waits_for_a_command(switch):
    switch.does(start=LONG)
    one = switch.open()
    begin = time.monotonic()
    one.start()
    one.start()
    for _ in range(100):
        assert one.poll().running
    assert time.monotonic() - begin < 5.0
    eventually(lambda: switch.calls == ["start"])
    begin = time.monotonic()
    one.terminate()
    assert one.poll().running
    assert time.monotonic() - begin < 5.0
    one.kill()
    eventually(lambda: not one.poll().running)
    assert switch.calls == ["start", "stop 1"]


def test_ranks_are_asked_once_and_killed_again_and_again(switch):
    one = switch.open()
    one.start()
    eventually((switch.folder / "on").exists)
    switch.does(stop="true")
    for _ in range(20):
        one.terminate()
    eventually(lambda: switch.calls == ["start", "stop 0"])
    eventually(lambda: one.kill() or len(switch.calls) > 4)
    assert set(switch.calls[2:]) == {"stop 1"}
    switch.does(stop="rm -f on")
    eventually(lambda: one.kill() or not one.poll().running)
    assert one.poll().code == 137


def test_what_runs_already_is_not_started_again(switch):
    (switch.folder / "on").touch()
    one = switch.open()
    one.start()
    eventually(lambda: one.poll() == RanksState(running=True))
    one.terminate()
    eventually(lambda: not one.poll().running)
    assert switch.calls == ["stop 0"]


def test_a_start_that_has_not_begun_can_be_taken_back(switch):
    one = switch.open()
    eventually(lambda: known(one) is not None)
    switch.does(poll="touch asked; while ! test -e go; do sleep 0.01; done; echo ended; exit 1")
    eventually((switch.folder / "asked").exists)
    one.start()
    one.terminate()
    assert one.poll() == RanksState(running=False, code=0)
    (switch.folder / "go").touch()
    one.close()
    assert switch.calls == []


def test_a_start_that_cannot_ask_whether_ranks_run_starts_nothing(switch):
    one = switch.open()
    eventually(lambda: known(one) is not None)
    switch.does(poll="echo timed out; exit 28")
    one.start()
    eventually(lambda: (known(one) or RanksState(running=True)).failure != "")
    assert switch.calls == []


@pytest.mark.slow
def test_what_outlives_every_stop_is_told_at_the_end(switch):
    one = switch.open(stop_s=0.2, every_s=0.2)
    one.start()
    eventually((switch.folder / "on").exists)
    switch.does(stop=LONG)
    with pytest.raises(ProvisionError, match="outlive the stop command with CURTAIL_FORCE=1"):
        one.close()
    switch.opened.clear()  # it would say so again
