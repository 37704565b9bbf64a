"""`curtail dashboard`: a live page of a run, from its events."""

import argparse
import sys
from pathlib import Path

from curtail_dist.cli.verb import Verb, add_overrides
from curtail_dist.config import RunConfig
from curtail_dist.errors import UserError
from curtail_dist.security.opening import is_here


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, nargs="?", metavar="RUN_DIR", help="directory of the run")
    parser.add_argument("--config", metavar="RUN.yaml", help="the run file, in place of RUN_DIR")
    add_overrides(parser)
    parser.add_argument(
        "--from",
        dest="further",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="further directory with events of the same run, from another site; may be repeated",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    parser.add_argument(
        "--without-password",
        action="store_true",
        help="allow a --host that others can reach: whoever reaches it sees the run",
    )


def _run(args: argparse.Namespace) -> int:
    from curtail_dist.dashboard.serve import serve  # here, so that a wrong argument is told soon

    directories = [_directory(args), *args.further]
    for directory in directories if args.config is None else args.further:
        if not directory.is_dir():
            raise UserError(f"{directory} is no directory; give the directory of a run")
    if not 0 <= args.port < 2**16:
        raise UserError(f"--port is {args.port}; it must be in [0, 65535]")
    if not is_here(args.host):
        if not args.without_password:
            raise UserError(
                f"--host is {args.host}, which others can reach, and the dashboard has no password; "
                "it must be a loopback address: forward its port by ssh, or add --without-password"
            )
        print(
            f"WARNING: the dashboard has NO PASSWORD; whoever reaches {args.host} can see all of this run",
            file=sys.stderr,
        )

    def told(address: str) -> None:
        print(f"dashboard of {directories[0]}: {address} (Ctrl-C ends it; the run goes on)", flush=True)

    serve(directories, host=args.host, port=args.port, told=told)
    return 0


def _directory(args: argparse.Namespace) -> Path:
    if (args.run_dir is None) == (args.config is None):
        raise UserError("a RUN_DIR or --config RUN.yaml says which run; give one of them")
    if args.run_dir is not None:
        if args.set:
            raise UserError(
                f"--set is {args.set[0]}, which is of a run file, and RUN_DIR stands in its place; "
                "give --config RUN.yaml, or leave --set out"
            )
        return args.run_dir
    return RunConfig.from_yaml(args.config, list(args.set)).run.directory


VERB = Verb(
    name="dashboard",
    help="a live page of a run in the browser, read-only",
    add_arguments=_add_arguments,
    run=_run,
)
