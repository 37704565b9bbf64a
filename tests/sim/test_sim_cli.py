import logging

import pytest

from curtail_dist.membership import presence
from curtail_dist.sim.cli import main


def test_schedules_that_hold_end_with_0(capsys):
    assert main(["--seeds", "0:3", "--jobs", "1"]) == 0
    assert "3 schedules" in capsys.readouterr().out


def test_a_broken_schedule_ends_with_1_and_can_be_replayed(capsys):
    assert main(["--seeds", "0:2", "--jobs", "1", "--mutant", "apply-before-commit"]) == 1
    shown = capsys.readouterr().out
    assert "seed 0: I1" in shown
    assert "--seed N --mutant apply-before-commit" in shown


def test_one_seed_is_shown_as_a_timeline(capsys):
    assert main(["--seed", "0", "--mutant", "apply-before-commit"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("seed 0: ")
    assert any("EPOCH 1 founded" in line for line in shown)
    assert shown[-1].startswith("I1 agreement: ")


@pytest.mark.parametrize(
    "wrong", [["--seeds", "5"], ["--seeds", "4:4"], ["--seeds", "a:b"], ["--mutant", "x"]]
)
def test_bad_input_ends_with_2(wrong, capsys):
    assert main(wrong) == 2
    assert capsys.readouterr().err


def test_the_protocols_warnings_are_not_shown_while_it_plays(caplog, capsys):
    protocol = logging.getLogger(presence.__name__)
    protocol.warning("before")
    assert main(["--seeds", "10:14", "--jobs", "1"]) == 0
    protocol.warning("after")
    assert [record.message for record in caplog.records] == ["before", "after"]
    assert capsys.readouterr().err == ""
