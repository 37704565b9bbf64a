"""What etcd's JSON gateway answers, and what the lack of an answer means."""

import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple

from curtail_dist.errors import CoordinationError, LeaseExpired, StoreUnavailable

Json = dict[str, Any]

_UNANSWERED = {1, 4, 8, 14}
"""gRPC codes that leave the effect of a write unknown: cancelled, deadline, exhausted, unavailable."""
_UNKNOWN = 2
"""The gateway's word where an etcd that stops breaks its connection to itself, over TLS; and others'."""
_UNAUTHENTICATED = 16
_NAME = "name a user who may do this, and the user's password file; `curtail keys role` makes one for a run"
_REMEDIES = {
    "invalid user ID or password": "correct the user, or what its password file holds",
    "authentication is not enabled": "switch it on with `curtail keys role --enable-auth`, or name no user",
    "user name is empty": _NAME,
    "permission denied": _NAME,
    "CommonName of client": "use a client certificate without a common name (`curtail keys new` makes one) "
    "with a user and a password: its JSON gateway takes no user from a certificate",
}
"""What to do, by words of etcd's refusals that are about who we are."""
_WHO = ("user name is empty", "permission denied")


class NoAnswer(Exception):
    """One endpoint gave no answer; `sent` when the request may have reached it."""

    def __init__(self, endpoint: str, why: str, *, sent: bool, remedy: str | None = None) -> None:
        """Name the endpoint and the reason; `remedy` says what to do where trying again will not help."""
        super().__init__(f"{endpoint} ({why})")
        self.sent = sent
        self.remedy = remedy


class TokenRefused(Exception):
    """Etcd does not take, or no longer takes, the token of a call; it has done nothing."""


class UnknownCaller(CoordinationError):
    """Etcd's authentication is on and the call names nobody, or somebody who may not make it."""


class Header(NamedTuple):
    """What every answer says of the etcd that gave it."""

    cluster: int
    revision: int


def header_of(answer: Json) -> Header:
    """Return the header of an answer or of a stream's message."""
    raw = answer.get("header", {})
    return Header(int(raw.get("cluster_id", 0)), int(raw.get("revision", 0)))


def parse(endpoint: str, status: int, raw: bytes) -> Json:
    """Return the decoded answer, or raise what it stands for."""
    try:
        body: Json = json.loads(raw)
    except ValueError as error:
        if (remedy := remedy_of(str(raw))) is not None:
            raise CoordinationError(f"etcd at {endpoint} refuses the connection; {remedy}") from error
        raise StoreUnavailable(
            f"{endpoint} answers HTTP {status}, but not as etcd's v3 JSON gateway does; start etcd 3.4 or "
            "later there (with --enable-grpc-gateway) or correct coordination.endpoints"
        ) from error
    if status == 200:
        return body
    code, message = _refusal(body)
    if "lease not found" in message:
        raise LeaseExpired("the lease no longer exists: grant another and write its keys again")
    if code in _UNANSWERED or (code == _UNKNOWN and "transport: " in message):
        raise NoAnswer(endpoint, message, sent=True)
    if code == _UNAUTHENTICATED or "revision of auth store is old" in message:
        raise TokenRefused(message)
    remedy = remedy_of(message)
    said = f"etcd at {endpoint} refuses the call (HTTP {status}): {message}"
    kind = UnknownCaller if any(words in message for words in _WHO) else CoordinationError
    raise kind(f"{said}; {remedy}" if remedy else said)


def remedy_of(message: str) -> str | None:
    """Return what to do about a refusal that is about who we are, None for any other."""
    return next((remedy for words, remedy in _REMEDIES.items() if words in message), None)


def _refusal(body: Json) -> tuple[int | None, str]:
    """Return the gRPC code and the message of an error.

    A call has them at the top, {"code", "message"}; a stream below, {"error": {"grpc_code", "message"}}.
    """
    error: Json | str | None = body.get("error")
    if isinstance(error, dict):
        return error.get("grpc_code"), str(error.get("message"))
    return body.get("code"), str(body.get("message") or error)


def reason(error: Exception) -> str:
    """Say in a word or two why there was no answer."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionError() | ssl.SSLEOFError():
            return "connection lost"
        case ssl.SSLError() if "ALERT" in str(error.reason):
            return f"it refuses this client's certificate, or wants one: {error.reason}"
        case socket.gaierror():
            return "unknown host name"
        case _:
            return str(error) or type(error).__name__


def broken_off(failure: NoAnswer) -> bool:
    """Whether the other side was there and broke the connection off."""
    cause = failure.__cause__
    return isinstance(cause, ssl.SSLError | ConnectionError) and not isinstance(cause, ConnectionRefusedError)


def unavailable(failures: Sequence[NoAnswer], *, first: bool) -> CoordinationError:
    """Return the error of a call that no endpoint answered.

    It is StoreUnavailable, but for a `first` call to etcd of which each failure will stand.
    """
    where = ", ".join(str(failure) for failure in failures)
    remedies = dict.fromkeys(failure.remedy for failure in failures if failure.remedy is not None)
    if first and len(remedies) > 0 and all(failure.remedy is not None for failure in failures):
        return CoordinationError(f"etcd cannot be used at {where}; {'; '.join(remedies)}")
    remedy = "start it or correct coordination.endpoints"
    return StoreUnavailable(f"etcd does not answer at {where}; {'; '.join((*remedies, remedy))}")
