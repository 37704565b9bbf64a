"""`curtail keys`: certificates for an etcd and its clients, and a user in it for each run."""

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from curtail_dist.cli.verb import Verb, add_run_file
from curtail_dist.config import CoordinationConfig, RunConfig
from curtail_dist.coordination.access import PasswordFile, open_access
from curtail_dist.coordination.certificates import CA, CA_KEY, CLIENT, CLIENT_KEY, write_keys
from curtail_dist.coordination.gateway import Gateway
from curtail_dist.coordination.users import (
    ROOT,
    authentication_is_on,
    enable_authentication,
    ensure_role,
    ensure_user,
    new_password,
    run_grants,
)
from curtail_dist.errors import UserError
from curtail_dist.security.private import write_private

DAYS = 3650
"""How long certificates are valid unless it is said."""
ROLES = "curtail."
"""How the names of roles in etcd begin; a run's name follows."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    new = verbs.add_parser("new", help="make an authority and certificates for etcd and its clients")
    new.add_argument("directory", type=Path, metavar="DIR", help="where to; nothing there is overwritten")
    new.add_argument(
        "--host",
        action="append",
        required=True,
        metavar="NAME",
        help="name or address by which sites reach etcd; may be given several times",
    )
    new.add_argument("--days", type=int, default=DAYS, metavar="N", help=f"how long they are valid ({DAYS})")
    new.set_defaults(act=_new)
    role = verbs.add_parser("role", help="make a user in etcd who can reach one run's keys and no others")
    add_run_file(role)
    role.add_argument(
        "--root-password-file",
        type=Path,
        metavar="FILE",
        help="file with the password of etcd's user root; --enable-auth makes it where there is none",
    )
    role.add_argument(
        "--enable-auth", action="store_true", help="then have etcd let nobody in without a password"
    )
    role.set_defaults(act=_role)


def _run(args: argparse.Namespace) -> int:
    return args.act(args)


def _new(args: argparse.Namespace) -> int:
    folder: Path = args.directory
    write_keys(folder, args.host, days=args.days)
    print(f"wrote certificates for etcd at {', '.join(args.host)} into {folder}")
    print(f"- etcd: `curtail etcd --tls {folder}`, or etcd's own options with the same files")
    print(
        f"- sites: {CA}, {CLIENT} and {CLIENT_KEY}, named in the run file as coordination.tls.ca, cert, key"
    )
    print(f"- keep {CA_KEY} where no site is: whoever has it can make certificates of etcd's")
    return 0


def _role(args: argparse.Namespace) -> int:
    config = RunConfig.from_yaml(args.config, args.set)
    coordination, run = config.coordination, config.run.name
    grants = run_grants(run)
    user, file = coordination.user, coordination.password_file
    if not user or file is None or user == ROOT:
        raise UserError(
            f"coordination.user is {user!r} and coordination.password_file {str(file or '')!r}; they must "
            f"name a user of this run, such as {run}, and a file for the password, made where there is none"
        )
    root_file = _root_file(args.root_password_file) if args.enable_auth else args.root_password_file
    with _administration(coordination, root_file) as (gateway, on):
        role = f"{ROLES}{run}"
        ensure_role(gateway, role, grants)
        _make_password(file)
        ensure_user(gateway, user, PasswordFile(file).read(), role)
        print(f"user {user} of etcd has the role {role}: the keys of run {run}, and no others")
        if root_file is not None and args.enable_auth and not on:
            _make_password(root_file)
            enable_authentication(gateway, PasswordFile(root_file).read())
            print(f"etcd lets nobody in without a password from now on; root's is in {root_file}")
        elif not on:
            print(
                "etcd's authentication is off: everybody reaches all keys until --enable-auth switches it on"
            )
    return 0


@contextmanager
def _administration(config: CoordinationConfig, root_file: Path | None) -> Iterator[tuple[Gateway, bool]]:
    """Open etcd as its administrator; say whether its authentication is on. While it is off, all are that."""
    nobody = open_access(config.tls)
    with closing(Gateway(config.endpoints, timeout_s=config.timeout_s, access=nobody)) as gateway:
        if not authentication_is_on(gateway):
            yield gateway, False
            return
    root = open_access(config.tls, ROOT, _root_file(root_file))
    with closing(Gateway(config.endpoints, timeout_s=config.timeout_s, access=root)) as gateway:
        yield gateway, True


def _root_file(given: Path | None) -> Path:
    if given is None:
        raise UserError(
            "--root-password-file is missing; it must name the file with the password of etcd's root"
        )
    return given


def _make_password(file: Path) -> None:
    """Write a fresh password where there is no file."""
    if not file.exists():
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(file, f"{new_password()}\n".encode())
        except OSError as error:
            raise UserError(f"{file} cannot be written ({error.strerror}); name another file") from error
        print(f"wrote a new password into {file}")


VERB = Verb(
    name="keys",
    help="certificates for etcd and its clients; a user in etcd for each run",
    add_arguments=_add_arguments,
    run=_run,
)
