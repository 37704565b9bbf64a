"""What a verb of `curtail` is, and the arguments that many have."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One verb; other packages add theirs by an entry point in the group `curtail.verbs`."""

    name: str
    help: str
    """One line without a full stop."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Do it and return the exit code; a CurtailError becomes one line on stderr and 1, a UserError 2."""


def finite(text: str) -> float:
    """Read a number, as `type` of an argument."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"it is {text!r}; it must be a finite number")
    return number


def add_run_file(parser: argparse.ArgumentParser) -> None:
    """Let a verb be told which run file, and what to override in it."""
    parser.add_argument("--config", required=True, metavar="RUN.yaml", help="the run file")
    add_overrides(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Let a verb be told to print its facts for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Let a verb be told what to override in its run file."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override one value of the run file"
    )
