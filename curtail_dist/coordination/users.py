"""Users and roles of etcd: what is missing is made and what differs is mended, so that twice is as once."""

import secrets
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, NamedTuple

from curtail_dist.coordination.answers import Json, UnknownCaller
from curtail_dist.coordination.gateway import PROBE_KEY, Gateway, encode
from curtail_dist.errors import UserError

ROOT = "root"
"""The user, and the role, that etcd lets do everything."""
_WORD_BYTES = 24


class Grant(NamedTuple):
    """What a role may do with the keys from `first` to before `end`; with `end` empty, with `first` alone."""

    first: bytes
    end: bytes
    kind: str
    """`READ` or `READWRITE`."""


def run_grants(run: str) -> tuple[Grant, ...]:
    """Return all that the processes of one run need of etcd, and nothing that another run has.

    Raises UserError for a run whose keys cannot be told from others' by their beginning.
    """
    if "." in run or run == "rendezvous":
        raise UserError(
            f"run.name is {run!r}; for a role of its own it must have no '.' and not be 'rendezvous': its "
            "keys would be another run's as well; name it otherwise"
        )
    prefixes = (f"/curtail/{run}/", f"/curtail/rendezvous/{run}.")
    writes = [Grant(raw, raw[:-1] + bytes([raw[-1] + 1]), "READWRITE") for raw in map(str.encode, prefixes)]
    # Every handle asks for this key, which nobody writes, to see that the store is the one of before.
    return (*writes, Grant(PROBE_KEY, b"", "READ"))


def new_password() -> str:
    """Return a fresh password."""
    return secrets.token_urlsafe(_WORD_BYTES)


def authentication_is_on(gateway: Gateway) -> bool:
    """Whether etcd asks who calls. The gateway must call as nobody. Raises as every call does."""
    try:
        _ask(gateway, "auth/user/list")
    except UnknownCaller:
        return True
    return False


def ensure_role(gateway: Gateway, role: str, grants: Sequence[Grant]) -> None:
    """Make a role that may do just this. What an error left half done is mended by doing it again."""
    _ensure_named(gateway, role)
    has = {_grant(raw) for raw in _ask(gateway, "auth/role/get", role=role).get("perm", ())}
    for grant in sorted(has - set(grants)):
        _do(gateway, "auth/role/revoke", role=role, key=encode(grant.first), range_end=encode(grant.end))
    for grant in grants:
        if grant not in has:
            may = {"permType": grant.kind, "key": encode(grant.first), "range_end": encode(grant.end)}
            _do(gateway, "auth/role/grant", name=role, perm=may)


def ensure_user(gateway: Gateway, user: str, password: str, role: str) -> None:
    """Make a user who has this password and this role.

    Raises UserError where there is such a user with other roles: what they may do would come on top.
    """
    if user in _ask(gateway, "auth/user/list").get("users", ()):
        has = set(_ask(gateway, "auth/user/get", name=user).get("roles", ()))
        if has - {role}:
            raise UserError(
                f"etcd's user {user} has the roles {', '.join(sorted(has - {role}))}; it must have {role} "
                "alone: name another user, or take these from it with `etcdctl user revoke-role`"
            )
        _do(gateway, "auth/user/changepw", name=user, password=password)
    else:
        has = set[str]()
        _do(gateway, "auth/user/add", name=user, password=password)
    if role not in has:
        _do(gateway, "auth/user/grant", user=user, role=role)


def enable_authentication(gateway: Gateway, root_password: str) -> None:
    """Make root, where it is not, and have etcd let nobody in without a password from now on."""
    _ensure_named(gateway, ROOT)
    ensure_user(gateway, ROOT, root_password, ROOT)
    _do(gateway, "auth/enable")


def _ensure_named(gateway: Gateway, role: str) -> None:
    if role not in _ask(gateway, "auth/role/list").get("roles", ()):
        _do(gateway, "auth/role/add", name=role)


def _ask(gateway: Gateway, path: str, **body: Any) -> Json:
    return gateway.call(path, body, repeatable=True)


def _do(gateway: Gateway, path: str, **body: Any) -> None:
    gateway.call(path, body, repeatable=False)


def _grant(raw: dict[str, Any]) -> Grant:
    # The gateway leaves out what has the zero value, and READ is one.
    return Grant(b64decode(raw["key"]), b64decode(raw.get("range_end", "")), raw.get("permType", "READ"))
