"""Each command that the documentation names is there, and takes the arguments that it is given."""

import contextlib
import io
import re
from functools import cache

import pytest
from pages import GENERATED, PAGES, ROOT, mentioned, named, typed, words
from parsers import curtail_verbs, parser_of, verbs_of

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
OWN = [page for page in PAGES if page not in GENERATED]
TYPED = {(named(page), line) for page in OWN for line in typed(page)}
MENTIONED = {(named(page), line) for page in OWN for line in mentioned(page)} - TYPED
PLACEHOLDERS = {"DURATION": "2h", "N": "3", "SITE@N": "a@3"}
ELSEWHERE = {
    ("docs/operating.md", "curtail recover"),  # it says that there is none
    ("docs/from-the-prototype.md", "python -m nanochat.dataset -n 240"),  # the prototype's
}


@cache
def known(program: str, verb: str):
    return parser_of(program, [verb] if verb else [])


def parser_for(program: str, rest: list[str]):
    """The parser of a command, made once for each of its verbs."""
    return known(program, next((word for word in rest if not word.startswith("-")), ""))


def split(line: str) -> tuple[str, list[str]]:
    """The program's name, as parsers.py knows it, and its arguments."""
    program, *rest = [PLACEHOLDERS.get(word, word) for word in words(line)]
    return (rest[1], rest[2:]) if program == "python" else (program.removeprefix(".venv/bin/"), rest)


def without_target(rest: list[str]) -> str:
    unknown = [word for word in rest if "=" not in word and word not in TARGETS]
    return f"no such target: {', '.join(unknown)}" if unknown else ""


def wrong_with(line: str) -> str:
    """What a command's own parser says against it, or nothing."""
    program, rest = split(line)
    if program == "make":
        return without_target(rest)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser_for(program, rest).parse_args(rest)
    except SystemExit as ended:
        return said.getvalue() if ended.code else ""
    return ""


def missing_in(line: str) -> str:
    """Which verb or flag of a command is not there, or nothing."""
    program, rest = split(line)
    if program == "make":
        return without_target(rest)
    parser = parser_for(program, rest)
    while verbs := verbs_of(parser):
        verb, *rest = rest or ["-h"]
        if verb.startswith("-"):
            break
        if verb not in verbs:
            return f"no such verb: {verb}"
        parser = verbs[verb]
    flags = {word.partition("=")[0] for word in rest if word.startswith("-")}
    unknown = flags - parser._option_string_actions.keys()
    return f"no such flags: {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.slow
def test_every_command_is_taken_by_its_own_parser():
    said = {f"{page}: {line}": wrong_with(line) for page, line in TYPED}
    assert {line: wrong for line, wrong in said.items() if wrong} == {}


@pytest.mark.slow
def test_every_command_that_is_mentioned_is_there():
    said = {f"{page}: {line}": missing_in(line) for page, line in MENTIONED - ELSEWHERE}
    assert {line: wrong for line, wrong in said.items() if wrong} == {}


def test_commands_were_found_on_the_pages_that_have_them():
    having = {page for page, _ in TYPED}
    assert {"README.md", "docs/first-run.md", "docs/own-sites.md", "docs/operating.md"} <= having
    assert len(TYPED) > 60 and len(MENTIONED) > 40


def test_what_is_not_there_is_noticed():
    assert "unrecognized arguments: --frobnicate" in wrong_with("curtail status --config a --frobnicate")
    assert "no such verb: nosuch" in missing_in("curtail nosuch --config a")
    assert "no such flags: --frobnicate" in missing_in("curtail status --frobnicate")
    assert "no such target: nosuch" in wrong_with("make nosuch")


def test_every_verb_is_on_the_page_of_commands():
    page = (ROOT / "docs" / "commands.md").read_text()
    assert [verb for verb in curtail_verbs() if f"### curtail {verb}\n" not in page] == []
