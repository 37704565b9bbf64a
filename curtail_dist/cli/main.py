"""`curtail`: finds the verb that was asked for, runs it, and turns errors into exit codes.

Exit codes: 0 done; 1 failed; 2 the user's input was wrong; 130 interrupted.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import NoReturn

from curtail_dist.cli.verb import Verb
from curtail_dist.errors import CurtailError, UserError

VERBS = {
    "site": ("curtail_dist.cli.site:VERB", "a site's agent: signal, policy, ranks started and drained"),
    "status": ("curtail_dist.cli.status:VERB", "who is active, round, epoch, tokens, rate, kg, next windows"),
    "simulate": ("curtail_dist.cli.simulate:VERB", "what the policy would do on the traces; no training"),
    "dashboard": ("curtail_dist.cli.dashboard:VERB", "a live page of a run in the browser, read-only"),
    "report": ("curtail_dist.cli.report:VERB", "report.html, report.png, summary.json from a run's events"),
    "hold": ("curtail_dist.cli.operator:HOLD", "keep a site from starting"),
    "drain": ("curtail_dist.cli.operator:DRAIN", "have a site leave now, and keep it from starting"),
    "release": ("curtail_dist.cli.operator:RELEASE", "take back a hold, a drain or the stop of the run"),
    "stop": ("curtail_dist.cli.operator:STOP", "have every site leave and every agent end"),
    "recover": (
        "curtail_dist.cli.recover:VERB",
        "etcd's data is gone: a new chain from the newest complete snapshot",
    ),
    "secret": ("curtail_dist.cli.secret:VERB", "make the secret that lets sites into a run"),
    "etcd": (
        "curtail_dist.cli.etcd:VERB",
        "an etcd of one member: for development, and with TLS for small runs",
    ),
    "keys": (
        "curtail_dist.cli.keys:VERB",
        "certificates for etcd and its clients; a user in it for each run",
    ),
}
"""Where each verb stands, and its help. Only the chosen one's module is imported, for a quick `--help`."""
GROUP = "curtail.verbs"


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as all errors of the user do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code. `argv` is without the program's name; default: the process's."""
    given = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        return _run(given)
    except SystemExit as done:  # argparse printed help or an error
        return done.code if isinstance(done.code, int) else 1
    except UserError as error:
        return _fail(error, 2)
    except CurtailError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; without this the interpreter complains again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(error: CurtailError, code: int) -> int:
    print(f"curtail: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _run(given: Sequence[str]) -> int:
    further = {point.name: point for point in entry_points(group=GROUP) if point.name not in VERBS}
    name = next((word for word in given if not word.startswith("-")), None)
    verb = _load(name, further) if name in VERBS or name in further else None
    args = _parser(further, verb).parse_args(given)
    if verb is None:
        raise UserError("no verb was given; it must be one of those that `curtail --help` lists")
    return verb.run(args)


def _load(name: str | None, further: dict[str, EntryPoint]) -> Verb:
    try:
        found = _own(name) if name in VERBS else further[str(name)].load()
    except ImportError as error:
        raise CurtailError(
            f"the verb {name} cannot be loaded ({error}); install its package again"
        ) from error
    if not isinstance(found, Verb):
        raise CurtailError(f"the verb {name} is a {type(found).__name__}; its entry point must name a Verb")
    return found


def _help_of(name: str, further: dict[str, EntryPoint]) -> str:
    try:
        return _load(name, further).help
    except CurtailError as error:
        return str(error)


def _own(name: str) -> object:
    module, _, attribute = VERBS[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parser(further: dict[str, EntryPoint], chosen: Verb | None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="curtail", description="Train language models on power that would otherwise be thrown away."
    )
    parser.add_argument("--version", action="version", version=f"curtail {version('curtail-dist')}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", parser_class=_Parser)
    helps = {name: text for name, (_, text) in VERBS.items()}
    helps |= {name: _help_of(name, further) if chosen is None else "" for name in further}
    for name, text in helps.items():
        if chosen is not None and name == chosen.name:
            sub = verbs.add_parser(name, help=chosen.help, description=f"{chosen.help}.")
            chosen.add_arguments(sub)
        else:
            verbs.add_parser(name, help=text, add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
