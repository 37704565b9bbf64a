"""Calls to etcd's v3 JSON gateway: endpoints in turn, one deadline, and a token where it asks for one.

The gateway speaks protobuf's JSON: bytes are base64, 64-bit integers are strings, and fields with the zero
value are left out.
"""

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from curtail_dist.coordination.access import Access
from curtail_dist.coordination.answers import (
    Json,
    NoAnswer,
    TokenRefused,
    UnknownCaller,
    broken_off,
    header_of,
    parse,
    reason,
    unavailable,
)
from curtail_dist.coordination.connections import Connections, left
from curtail_dist.coordination.continuity import Continuity
from curtail_dist.coordination.login import Login
from curtail_dist.coordination.stream import Stream
from curtail_dist.errors import CoordinationError
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    import socket

T = TypeVar("T")


class _Limits(NamedTuple):
    """Moments of the monotonic clock."""

    share: float
    """Until when this endpoint has its turn."""
    deadline: float
    """Until when the call must be over."""


_Attempt = Callable[[str, _Limits, str | None], T]
"""What is tried at an endpoint, within limits, with a token or without."""

_TOKENS = 3
"""Tokens that a call tries before it gives up: each change of etcd's users may void the one just given."""


def encode(text: str | bytes) -> str:
    """Encode a key or value for the gateway."""
    return b64encode(text.encode() if isinstance(text, str) else text).decode("ascii")


PROBE_KEY = b"\0"
"""A key that nobody writes; whoever uses the store must be allowed to read it."""
_PROBE: Json = {"key": encode(PROBE_KEY), "count_only": True}
"""The cheapest linearizable read."""


class Gateway:
    """etcd's JSON gateway behind one or more endpoints, of which the first that answers is used.

    Thread-safe; not to be shared across a fork. Owned by a store, which closes it.
    """

    def __init__(self, endpoints: Sequence[str], *, timeout_s: Seconds, access: Access | None = None) -> None:
        """Connect lazily to `endpoints`, each HOST:PORT; a call takes `timeout_s` seconds at most.

        `access` says how connections are opened and as whom; default: in clear, as nobody.
        """
        if not endpoints:
            raise ValueError("endpoints is empty; it must name at least one HOST:PORT")
        access = access if access is not None else Access()
        self.timeout_s = timeout_s
        self._endpoints = tuple(endpoints)
        self._connections = Connections(endpoints, access.context)
        self._login = Login(access.user, access.password) if access.password is not None else None
        self._continuity = Continuity()
        self._lock = threading.Lock()
        self._preferred = 0

    def call(self, path: str, body: Json, *, repeatable: bool) -> Json:
        """POST `body` to /v3/`path` and return the answer.

        A call that writes is not `repeatable`: once it may have been sent it goes to no other endpoint, since
        a second copy could meet the effect of the first.

        Raises StoreUnavailable without an answer in time, LeaseExpired when etcd misses the lease,
        StoreReplaced when it is not the etcd of before, and CoordinationError when it refuses the call, this
        user or its password, or when nobody can be talked to as this client means to, and never could.
        """
        data = json.dumps(body).encode()

        def attempt(endpoint: str, limits: _Limits, token: str | None) -> Json:
            return self._exchange(endpoint, path, data, limits, token=token, repeatable=repeatable)

        return self._in_turn(attempt, once=not repeatable)

    def stream(self, path: str, body: Json) -> Stream:
        """POST `body` to /v3/`path` and return the open answer. Raises as `call` does."""
        data = json.dumps(body).encode()

        def attempt(endpoint: str, limits: _Limits, token: str | None) -> Stream:
            return self._open(endpoint, path, data, limits.share, token=token)

        return self._in_turn(attempt, once=False)

    def weigh(self, endpoint: str, message: Json, begun: int) -> None:
        """Take note of an answer that a member of the cluster may give while it lags behind the others.

        When it is older than `begun`, what had been seen when it was asked for, a linearizable read settles
        whether the store was set back. Raises StoreReplaced then, and as `call` does.
        """
        self._confirm(endpoint, message, 0)
        if header_of(message).revision < begun:
            self.call("kv/range", _PROBE, repeatable=True)

    def forget(self, token: str | None) -> None:
        """Ask etcd for another token than this before the next call; None: there is nothing to forget."""
        if self._login is not None and token is not None:
            self._login.forget(token)

    def close(self) -> None:
        """Close idle connections; idempotent. Later calls raise StoreUnavailable."""
        self._connections.close()

    def _in_turn(self, attempt: _Attempt[T], *, once: bool) -> T:
        """Try the endpoints until one answers; with `once`, none after one that may have got the request."""
        self._connections.check()
        deadline = time.monotonic() + self.timeout_s
        failures: list[NoAnswer] = []
        order = self._order()
        for position, endpoint in enumerate(order):
            limits = _Limits(_share(deadline, len(order) - position), deadline)
            try:
                return self._with_token(endpoint, limits, attempt)
            except NoAnswer as failure:
                self._avoid(endpoint)
                failures.append(self._explained(endpoint, failure, limits.share))
                if once and failures[-1].sent:
                    break
        raise unavailable(failures, first=not self._continuity.known)

    def _order(self) -> tuple[str, ...]:
        with self._lock:
            return self._endpoints[self._preferred :] + self._endpoints[: self._preferred]

    def _avoid(self, endpoint: str) -> None:
        with self._lock:
            if self._endpoints[self._preferred] == endpoint:
                self._preferred = (self._preferred + 1) % len(self._endpoints)

    def _explained(self, endpoint: str, failure: NoAnswer, until: float) -> NoAnswer:
        """Return why an etcd that never answered cannot be reached, where more can be found out."""
        if self._continuity.known or failure.remedy is not None or not broken_off(failure):
            return failure
        found = self._connections.mismatch(endpoint, until)
        return failure if found is None else NoAnswer(endpoint, found[0], sent=False, remedy=found[1])

    def _with_token(self, endpoint: str, limits: _Limits, attempt: _Attempt[T]) -> T:
        """Make an attempt with a token that etcd takes; with none where nobody is to be logged in."""
        if self._login is None:
            try:
                return attempt(endpoint, limits, None)
            except TokenRefused as error:
                raise UnknownCaller(
                    f"etcd at {endpoint} wants to know who calls ({error}); name a user of it and the user's "
                    "password file"
                ) from error
        refused: str | None = None
        said = ""
        for _ in range(_TOKENS):
            token = self._login.token(
                endpoint,
                lambda user, password: self._authenticate(endpoint, user, password, limits.share),
                refused=refused,
                until=limits.share,
            )
            try:
                return attempt(endpoint, limits, token)
            except TokenRefused as error:
                refused, said = token, str(error)
        raise NoAnswer(endpoint, f"it takes none of the tokens that it gives out: {said}", sent=False)

    def _authenticate(self, endpoint: str, user: str, password: str, until: float) -> str:
        """Return a token. It writes nothing: where it fails, the call that needs it was not sent."""
        data = json.dumps({"name": user, "password": password}).encode()
        try:
            connection, _ = self._connections.take(endpoint, until)
            status, raw = self._post(endpoint, connection, "auth/authenticate", data, until, token=None)
            self._connections.keep(endpoint, connection)
            return parse(endpoint, status, raw)["token"]
        except NoAnswer as failure:
            failure.sent = False
            raise

    def _exchange(
        self, endpoint: str, path: str, data: bytes, limits: _Limits, *, token: str | None, repeatable: bool
    ) -> Json:
        """Call one endpoint. It has its share of the time to connect, and to answer what is repeatable."""
        begun = self._continuity.begin()
        connection, fresh = self._connections.take(endpoint, limits.share)
        if fresh and self._continuity.known and not repeatable:
            self._meet(endpoint, connection, limits.share, begun, token=token)
        until = limits.share if repeatable else limits.deadline
        status, raw = self._post(endpoint, connection, path, data, until, token=token)
        self._connections.keep(endpoint, connection)
        answer = parse(endpoint, status, raw)
        if "header" in answer:
            self._confirm(endpoint, answer, begun)
        elif "result" in answer:
            self.weigh(endpoint, answer["result"], begun)
        return answer

    def _meet(
        self, endpoint: str, connection: HTTPConnection, until: float, begun: int, *, token: str | None
    ) -> None:
        """Read over a new connection before anything is written over it: a restart may have come before."""
        try:
            probe = json.dumps(_PROBE).encode()
            status, raw = self._post(endpoint, connection, "kv/range", probe, until, token=token)
            self._confirm(endpoint, parse(endpoint, status, raw), begun)
        except (NoAnswer, TokenRefused, CoordinationError) as error:
            connection.close()
            if isinstance(error, NoAnswer):
                error.sent = False
            raise

    def _confirm(self, endpoint: str, answer: Json, begun: int) -> None:
        cluster, revision = header_of(answer)
        self._continuity.confirm(f"etcd at {endpoint}", cluster, revision, begun=begun)

    def _post(
        self,
        endpoint: str,
        connection: HTTPConnection,
        path: str,
        data: bytes,
        until: float,
        *,
        token: str | None,
    ) -> tuple[int, bytes]:
        try:
            connection.sock.settimeout(left(until))
            connection.request("POST", f"/v3/{path}", body=data, headers=_headers(token))
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=True) from error
        return response.status, body

    def _open(self, endpoint: str, path: str, data: bytes, until: float, *, token: str | None) -> Stream:
        begun = self._continuity.begin()
        connection, _ = self._connections.take(endpoint, until)
        wire: socket.socket = connection.sock
        try:
            wire.settimeout(left(until))
            connection.request("POST", f"/v3/{path}", body=data, headers=_headers(token))
            response = connection.getresponse()
            if response.status != 200:
                parse(endpoint, response.status, response.read())
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswer(endpoint, reason(error), sent=True) from error
        except (NoAnswer, TokenRefused, CoordinationError):
            connection.close()
            raise
        return Stream(endpoint, connection, wire, response, begun=begun, token=token)


def _headers(token: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    return headers if token is None else {**headers, "Authorization": token}


def _share(deadline: float, endpoints: int) -> float:
    """Return until when one of `endpoints` that are left may take, so that each gets its turn."""
    return time.monotonic() + left(deadline) / endpoints
