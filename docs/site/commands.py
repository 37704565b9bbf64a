"""Writes commands.md: every verb with its arguments, from the parsers themselves."""

import argparse
from collections.abc import Iterator

from parsers import NANOCHAT, curtail_verbs, parser_of, verbs_of

HEAD = """# Commands

Made from the commands themselves (`python docs/site/generate.py`). Each says the same with `--help`.

Exit codes of `curtail`: 0 done; 1 failed; 2 the input was wrong, told in one line (what is, what must
be, what to do); 130 interrupted.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_curtail(), *_of("curtail-sim", "curtail-sim", 2), *_nanochat()])


def _curtail() -> Iterator[str]:
    yield "## curtail\n"
    for verb in curtail_verbs():
        yield from _told(f"curtail {verb}", verbs_of(parser_of("curtail", [verb]))[verb], 3)


def _nanochat() -> Iterator[str]:
    yield "## nanochat\n"
    for verb in NANOCHAT:
        yield from _of(f"python -m nanochat.{verb}", f"nanochat.{verb}", 3)


def _of(name: str, command: str, level: int) -> Iterator[str]:
    yield from _told(name, parser_of(command), level)


def _told(name: str, parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    description = " ".join((parser.description or "").split())
    if description:
        yield f"{description[0].upper()}{description[1:]}\n"
    inner = verbs_of(parser)
    taken = [action for action in parser._actions if action.dest != "help" and action.help != "==SUPPRESS=="]
    rows = [_row(action) for action in taken if not isinstance(action.choices, dict)]
    if rows:
        yield "\n".join(["| argument | |", "|---|---|", *rows]) + "\n"
    for verb, sub in inner.items():
        yield from _told(f"{name} {verb}", sub, level + 1)


def _row(action: argparse.Action) -> str:
    takes = "" if action.nargs == 0 else f" {_metavar(action)}"
    name = ", ".join(f"`{flag}{takes}`" for flag in action.option_strings) or f"`{_metavar(action)}`"
    given = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    needed = " **Must be given.**" if action.required and action.option_strings else ""
    return f"| {name} | {' '.join(given.split())}{needed} |"


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar:
        return action.metavar
    if action.choices is not None:
        return " or ".join(str(choice) for choice in action.choices)
    return action.dest.upper() if action.option_strings else action.dest
