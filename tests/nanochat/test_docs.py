"""docs/nanochat.md: each command in it is one that its verb understands, and no verb is left out."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "nanochat.md"
VERBS = {"dataset", "tok_train", "tok_eval", "train", "eval", "chat", "sft", "web", "convert"}
COMMAND = re.compile(r"^    (?:python|torchrun .*?) -m nanochat\.(\w+) (.*)$", re.MULTILINE)
COMMANDS = [(verb, shlex.split(rest)) for verb, rest in COMMAND.findall(DOC.read_text(encoding="utf-8"))]


def main_of(verb):
    package = {"web": "web.__main__", "convert": "convert.__main__"}.get(verb, verb)
    return importlib.import_module(f"nanochat.{package}").main


def understood(verb, arguments, capsys):
    """The verb's help, after it has read all values of the arguments; 2 and its line where it stumbled."""
    with pytest.raises(SystemExit) as ended:
        main_of(verb)([*arguments, "--help"])
    out, error = capsys.readouterr()
    return ended.value.code, out or error


def test_every_verb_has_an_example():
    assert {verb for verb, _ in COMMANDS} == VERBS


@pytest.mark.parametrize(("verb", "arguments"), COMMANDS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_command_of_the_documentation_is_understood(verb, arguments, capsys):
    code, said = understood(verb, arguments, capsys)
    assert code == 0, said
    options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", said))
    assert {one for one in arguments if one.startswith("--")} <= options


def test_a_command_that_would_not_be_understood_is_noticed(capsys):
    assert understood("train", ["--variant", "2025"], capsys)[0] == 2
    assert "--depht" not in understood("train", ["--depht", "3"], capsys)[1]


def test_files_that_are_named_exist():
    text = DOC.read_text(encoding="utf-8")
    for name in set(re.findall(r"`(nanochat/[\w/]+\.py)`", text)):
        assert (DOC.parents[1] / name).exists(), name
    for name in set(re.findall(r"`((?:test_|plain_)\w+\.py)`", text)):
        assert (Path(__file__).parent / name).exists(), name
