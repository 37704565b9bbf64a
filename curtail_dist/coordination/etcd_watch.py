"""A watch on etcd: a thread that follows one streaming answer and opens the next where it broke off."""

import contextlib
import logging
import threading
import time
from base64 import b64decode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curtail_dist.coordination.answers import Json, header_of, remedy_of
from curtail_dist.coordination.gateway import Gateway
from curtail_dist.coordination.store import Change, Entry
from curtail_dist.errors import CoordinationError, StoreUnavailable
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    from curtail_dist.coordination.stream import Stream

log = logging.getLogger(__name__)

_RETRY_S = 0.05
"""Pause before a broken stream is opened again."""
_DENIALS = ("permission denied", "invalid auth token", "revision of auth store is old", "user name is empty")
"""Why etcd cancels the watch of somebody whom it does not know, or not any more: some versions say no more
than that permission is denied."""


class EtcdWatch:
    """The changes below a prefix, each once and in order.

    A stream that is silent for the gateway's timeout is opened anew from the revision after the last change.
    That costs one small request; a server that hangs, or a host that is gone, cannot pass for a quiet one.
    Owns its thread until `close`.
    """

    def __init__(self, gateway: Gateway, prefix: str, selection: Json, revision: int) -> None:
        """Follow the keys in `selection` (the gateway's words for `prefix`) from `revision` on."""
        self._gateway = gateway
        self._prefix = prefix
        self._selection = selection
        self._next_revision = max(1, revision)
        self._news = threading.Condition()
        self._changes: list[Change] = []
        self._error: CoordinationError | None = None
        self._closing = threading.Event()
        self._stream: Stream | None = None
        self._lost_at = time.monotonic()
        self._denied = False
        self._thread = threading.Thread(target=self._run, name=f"etcd-watch {prefix}", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_set()

    def next(self, timeout: Seconds) -> Sequence[Change]:
        """Return the next changes, or an empty sequence after `timeout` seconds or once closed."""
        with self._news:
            self._news.wait_for(lambda: self._changes or self._error or self.closed, timeout)
            if self.closed:
                return ()
            changes, self._changes = self._changes, []
            if not changes and self._error is not None:
                raise self._error
            return tuple(changes)

    def close(self) -> None:
        """End the subscription; idempotent. Returns within the gateway's timeout, as a rule at once."""
        self._closing.set()
        with self._news:
            self._news.notify_all()
            if self._stream is not None:
                self._stream.interrupt()
        self._thread.join(self._gateway.timeout_s + 1.0)

    def _run(self) -> None:
        while not self.closed and self._error is None:
            try:
                self._follow()
            except StoreUnavailable as error:
                # The stream may be opened again for as long as a call may take to be answered.
                if time.monotonic() - self._lost_at >= self._gateway.timeout_s:
                    self._fail(error)
                log.debug("watch of %s interrupted, opening it again: %s", self._prefix, error)
                self._closing.wait(_RETRY_S)
            except CoordinationError as error:
                self._fail(error)

    def _follow(self) -> None:
        """Open a stream and take its messages until it is silent for too long."""
        create = {**self._selection, "start_revision": str(self._next_revision), "progress_notify": True}
        with contextlib.closing(self._gateway.stream("watch", {"create_request": create})) as stream:
            with self._news:
                self._stream = stream
            stands = False
            try:
                while not self.closed and self._error is None:
                    message = stream.read(self._gateway.timeout_s)
                    if message is None:
                        return
                    # A store that was set back would keep silent about a revision that it has yet to reach.
                    begun = stream.begun if message.get("created") else 0
                    self._gateway.weigh(stream.endpoint, message, begun)
                    if self._is_denied(message, stream.token):
                        return
                    self._take(message)
                    stands = True
            finally:
                if stands:
                    self._lost_at = time.monotonic()
                with self._news:
                    self._stream = None

    def _is_denied(self, message: Json, token: str | None) -> bool:
        """Whether the stream was refused for a token that may be too old: then it is to be opened anew."""
        why = str(message.get("cancel_reason", ""))
        denied = bool(message.get("canceled")) and any(word in why for word in _DENIALS)
        if denied and (token is None or self._denied):
            self._fail(_denied(why, self._prefix))
        elif denied:
            self._gateway.forget(token)
        self._denied = denied
        return denied

    def _take(self, message: Json) -> None:
        if message.get("canceled"):
            self._fail(_cancelled(message, self._prefix, self._next_revision))
            return
        changes = [_change(event) for event in message.get("events", ())]
        if changes:
            self._next_revision = changes[-1].revision + 1
        elif not message.get("created"):
            # A progress message: every change up to its revision has been sent. The first message, `created`,
            # says no such thing: older changes may still follow it.
            self._next_revision = max(self._next_revision, header_of(message).revision + 1)
        with self._news:
            self._changes.extend(changes)
            self._news.notify_all()

    def _fail(self, error: CoordinationError) -> None:
        with self._news:
            self._error = error
            self._news.notify_all()


def _denied(why: str, prefix: str) -> CoordinationError:
    return CoordinationError(
        f"etcd refuses the watch of {prefix!r} ({why}); {remedy_of(why) or 'name a user'}"
    )


def _cancelled(message: Json, prefix: str, revision: int) -> StoreUnavailable:
    compacted = int(message.get("compact_revision", 0))
    if compacted:
        return StoreUnavailable(
            f"etcd has compacted its history up to revision {compacted}, the watch of {prefix!r} asks for "
            f"{revision}: list again and watch from there"
        )
    return StoreUnavailable(
        f"etcd ended the watch of {prefix!r} ({message.get('cancel_reason', 'no reason given')}): "
        "list again and open another"
    )


def _change(event: dict[str, Any]) -> Change:
    raw = event["kv"]
    key = b64decode(raw["key"]).decode(errors="surrogateescape")
    revision = int(raw["mod_revision"])
    if event.get("type") == "DELETE":
        return Change(key=key, entry=None, revision=revision)
    entry = Entry(
        key=key, value=b64decode(raw.get("value", "")), revision=revision, lease=int(raw.get("lease", 0))
    )
    return Change(key=key, entry=entry, revision=revision)
