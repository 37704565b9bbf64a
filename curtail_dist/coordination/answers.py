"""What etcd's JSON gateway answers, and what the lack of an answer means."""

import json
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from curtail_dist.errors import CoordinationError, LeaseExpired, StoreUnavailable

Json = dict[str, Any]

_UNANSWERED = {1, 4, 8, 14}
"""gRPC codes that leave the effect of a write unknown: cancelled, deadline, exhausted, unavailable."""


class NoAnswer(Exception):
    """One endpoint gave no answer; `sent` when the request may have reached it."""

    def __init__(self, endpoint: str, why: str, *, sent: bool) -> None:
        """Name the endpoint and the reason."""
        super().__init__(f"{endpoint} ({why})")
        self.sent = sent


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
        raise StoreUnavailable(
            f"{endpoint} answers HTTP {status}, but not as etcd's v3 JSON gateway does; start etcd 3.4 or "
            "later there (with --enable-grpc-gateway) or correct coordination.endpoints"
        ) from error
    if status == 200:
        return body
    code, message = _refusal(body)
    if "lease not found" in message:
        raise LeaseExpired("the lease no longer exists: grant another and write its keys again")
    if code in _UNANSWERED:
        raise NoAnswer(endpoint, message, sent=True)
    raise CoordinationError(f"etcd at {endpoint} refuses the call (HTTP {status}): {message}")


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
        case ConnectionError():
            return "connection lost"
        case socket.gaierror():
            return "unknown host name"
        case _:
            return str(error) or type(error).__name__


def unavailable(failures: Sequence[str]) -> StoreUnavailable:
    """Return the error of a call that no endpoint answered."""
    remedy = "start it or correct coordination.endpoints"
    return StoreUnavailable(f"etcd does not answer at {', '.join(failures)}; {remedy}")
