"""`curtail status`: a run as the store and its events have it now, once or again and again."""

import argparse
import json
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live

from curtail_dist.cli.status.facts import look
from curtail_dist.cli.status.terminal import Picture, text
from curtail_dist.cli.verb import Verb, add_run_file
from curtail_dist.config import RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.report.live import LiveView


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_file(parser)
    parser.add_argument(
        "--watch", action="store_true", help="show it again and again, until the run is complete"
    )
    parser.add_argument(
        "--every", type=_seconds, default=2.0, metavar="S", help="seconds between two looks with --watch (2)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; with --watch, one line a look")


def _seconds(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"it is {given}; it must be seconds, above 0 and below a day")
    return seconds


def _run(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, list(args.set))
    view = LiveView(config.run.directory)
    with open_store(config.coordination) as store:
        if args.watch and not args.json and _redraws():
            facts = _watch_screen(config, store, view, args)
        else:
            facts = _print(config, store, view, args)
    if facts["store"]["answers"]:
        return 0
    print(f"curtail: {facts['store']['error']}", file=sys.stderr)
    return 1


def _redraws() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _print(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> dict[str, Any]:
    console = Console()
    while True:
        facts = look(config, store, view)
        if args.json:
            print(json.dumps(facts, indent=None if args.watch else 2), flush=True)
        elif _redraws():
            console.print(Picture(facts))
        else:
            print(text(facts, console.width), end="\n\n" if args.watch else "\n", flush=True)
        if facts["finished"] or not args.watch:
            return facts
        time.sleep(args.every)


def _watch_screen(
    config: RunConfig, store: CoordinationStore, view: LiveView, args: argparse.Namespace
) -> dict[str, Any]:
    """Draw over what was drawn before, on a screen of its own; leave the newest picture in the usual one."""
    console, facts = Console(), look(config, store, view)
    try:
        with Live(Picture(facts), console=console, screen=True, auto_refresh=False) as live:
            while not facts["finished"]:
                time.sleep(args.every)
                facts = look(config, store, view)
                live.update(Picture(facts), refresh=True)
    finally:
        console.print(Picture(facts))
    return facts


VERB = Verb(
    name="status",
    help="who is active, round, epoch, tokens, rate, kg so far, next windows",
    add_arguments=_add_arguments,
    run=_run,
)
