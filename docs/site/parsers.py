"""The argument parsers of every command that the documentation names."""

import argparse
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import NoReturn

NANOCHAT = ("dataset", "tok_train", "tok_eval", "train", "eval", "sft", "convert", "chat", "web")
"""Verbs of `python -m nanochat.VERB`."""
MODULES = {
    "curtail": "curtail_dist.cli.main",
    "curtail-sim": "curtail_dist.sim.cli",
    "nanochat.convert": "nanochat.convert.__main__",
    "nanochat.web": "nanochat.web.__main__",
}
"""Where a command's `main` stands, if not in the module of its own name."""


class _Asked(BaseException):
    """Carries a parser out of the command that made it, before anything is done."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


@contextmanager
def _nothing_is_parsed() -> Iterator[None]:
    def stop(self: argparse.ArgumentParser, args: object = None, namespace: object = None) -> NoReturn:
        del args, namespace
        raise _Asked(self)

    usual = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = stop
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = usual


def parser_of(command: str, arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser that `command`, such as `curtail` or `nanochat.train`, makes for these arguments."""
    main = importlib.import_module(MODULES.get(command, command)).main
    with _nothing_is_parsed():
        try:
            main(list(arguments))
        except _Asked as asked:
            return asked.parser
    raise LookupError(f"{command} parses no arguments")


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the verbs of a parser by name; empty where it has none."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            return dict(action.choices)
    return {}


def curtail_verbs() -> list[str]:
    """Return the verbs of `curtail`, the library's own first."""
    from curtail_dist.cli.main import GROUP, VERBS

    return [*VERBS, *sorted(point.name for point in entry_points(group=GROUP) if point.name not in VERBS)]
