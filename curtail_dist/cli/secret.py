"""`curtail secret`: makes the secret of a run."""

import argparse
from pathlib import Path

from curtail_dist.cli.verb import Verb
from curtail_dist.errors import UserError
from curtail_dist.security.private import write_private
from curtail_dist.security.secret import ENVIRONMENT, new_secret, parse_secret


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write it there, for this user alone (default: print it, and nothing else)",
    )


def _run(args: argparse.Namespace) -> int:
    secret = new_secret()
    if args.out is None:
        print(secret)
        return 0
    _write(args.out, secret)
    print(f"{args.out} holds a new secret, fingerprint {parse_secret(secret, 'it').fingerprint}.")
    print(
        "Give the same file to every site, by a way that nobody else can read, and name it in the run file:"
    )
    print(f"  security:\n    secret_file: {args.out.absolute()}")
    print(f"or have {ENVIRONMENT} hold its text. A site without it, or with another, takes no part.")
    return 0


def _write(path: Path, secret: str) -> None:
    """Write a new file. Raises UserError where there is one already, or it cannot be made."""
    try:
        write_private(path, f"{secret}\n".encode("ascii"))
    except FileExistsError as error:
        raise UserError(
            f"{path} exists, and may be what a run is protected by; name another file, or remove it first"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); name another place") from error


VERB = Verb(
    name="secret",
    help="make the secret that lets sites into a run",
    add_arguments=_add_arguments,
    run=_run,
)
