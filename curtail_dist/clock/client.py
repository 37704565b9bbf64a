"""A participant's view of a clock service, and the choice between that and real time."""

import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from curtail_dist.clock.base import Clock, SystemClock
from curtail_dist.errors import ConfigError, CoordinationError
from curtail_dist.units import Seconds


class ClockSettings(Protocol):
    """What of the run file's `clock` section the choice of a clock needs."""

    @property
    def kind(self) -> str:
        """`real` or `virtual`."""
        ...

    @property
    def endpoint(self) -> str:
        """HOST:PORT of a virtual clock's service."""
        ...


_CALL_S = 10.0
_LOCK_S = 1.0
_HEED_S = 0.5
"""A request without an end is waited for in spans of this length. A signal that comes right before a wait
begins, or to another thread, does not end it: its handler runs after the span."""


class _Line:
    """One connection to the service: a request and its answer at a time."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        host, _, port = endpoint.rpartition(":")
        self._number = 0
        self._buffer = b""
        try:
            self._socket = socket.create_connection((host, int(port)), timeout=_CALL_S)
        except OSError as error:
            raise self._lost(str(error)) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, op: str, *, timeout: Seconds | None = _CALL_S, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer. Raises CoordinationError when the service is gone or refuses.

        After any exception, one from a signal handler too, the line is unusable and must be closed.
        """
        self._number += 1
        try:
            self._socket.settimeout(_HEED_S if timeout is None else timeout)
            self._socket.sendall(json.dumps({"op": op, "id": self._number, **fields}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(self._read(endless=timeout is None))
        except OSError as error:
            raise self._lost(str(error)) from error
        if "error" in answer:
            raise CoordinationError(f"the virtual clock at {self._endpoint} refused {op}: {answer['error']}")
        return answer

    def cut(self) -> None:
        """Wake whoever reads this line from another thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._socket.close()

    def _read(self, *, endless: bool) -> bytes:
        while b"\n" not in self._buffer:
            try:
                chunk = self._socket.recv(4096)
            except TimeoutError:
                if endless:
                    continue
                raise
            if not chunk:
                raise self._lost("it closed the connection")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _lost(self, why: str) -> CoordinationError:
        return CoordinationError(
            f"the virtual clock at {self._endpoint} does not answer ({why}); it must run as long as the run: "
            f"start the run again"
        )


class VirtualClock:
    """One participant of a `ClockService`.

    The blocking calls (`sleep`, `spend`, `arrive`, `waiting`) belong to one thread, the participant's; `now`,
    `reserve` and `release` may come from any. An exception that a signal handler raises ends a blocking call;
    the participant then attaches anew with its next one. Every call raises CoordinationError when the service
    is gone.
    """

    def __init__(self, endpoint: str, participant: str, kind: str = "work") -> None:
        """Attach `participant` at HOST:PORT; `kind` is `work` (a rank) or `poll` (an agent)."""
        self._endpoint = endpoint
        self._participant = participant
        self._kind = kind
        self._closed = False
        self._standing: Seconds | None = None
        """The time while this participant is busy, when it cannot move; None when it has to be asked for."""
        self._turn = threading.Lock()
        self._own: _Line | None = None
        self._side_turn = threading.Lock()
        self._side: _Line | None = None
        try:
            self._attach()
        except BaseException:
            self._drop_own()
            raise

    def now(self) -> Seconds:
        """Return the run time; without asking the service while this participant holds the clock."""
        standing = self._standing
        return float(self._aside("now")["now"]) if standing is None else standing

    def sleep(self, duration: Seconds) -> None:
        """Block until `duration` seconds of run time have passed."""
        self._block("claim", **{"for": duration})

    def spend(self, duration: Seconds) -> None:
        """Block until the work just done has taken `duration` seconds of run time."""
        self._block("claim", **{"for": duration})

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Let time move without this participant while the context is open."""
        self._block("wait")
        try:
            yield
        finally:
            self._block("resume")

    def reserve(self, participant: str, duration: Seconds) -> None:
        """Expect `participant` in `duration` seconds; one that has arrived: back whenever it leaves."""
        self._aside("reserve", name=participant, **{"for": duration})

    def release(self, participant: str) -> None:
        """Expect `participant` no more."""
        self._aside("release", name=participant)

    def arrive(self) -> None:
        """Block until the moment that was reserved for this participant."""
        self._block("arrive")

    def close(self) -> None:
        """Leave the clock, which then does not wait for this participant; idempotent, bounded.

        A thread that blocks in a call gets CoordinationError.
        """
        if self._closed:
            return
        self._closed = True
        self._standing = None
        own = self._own
        if self._turn.acquire(timeout=_LOCK_S):
            try:
                self._farewell()
            finally:
                self._turn.release()
        elif own is not None:
            own.cut()
        with self._side_turn:
            if self._side is not None:
                self._side.close()
                self._side = None

    def _farewell(self) -> None:
        """Leave in order; where the connection is broken, at least take back what is reserved for us."""
        try:
            if self._own is None:
                self._aside("release", name=self._participant)
            else:
                self._own.ask("leave")
        except CoordinationError:
            pass  # The service is gone or has forgotten us: either way there is nothing left to leave.
        finally:
            self._drop_own()

    def _attach(self) -> _Line:
        self._own = _Line(self._endpoint)
        answer = self._own.ask("attach", name=self._participant, kind=self._kind)
        self._settle(answer)
        return self._own

    def _settle(self, answer: dict[str, Any]) -> None:
        self._standing = float(answer["now"]) if answer["busy"] else None

    def _block(self, op: str, **fields: Any) -> None:
        """Make a request of the participant's own, for as long as it takes."""
        with self._turn:
            if self._closed:
                raise CoordinationError(
                    f"{self._participant} has left the virtual clock; it must not use it any more"
                )
            try:
                line = self._own or self._attach()
                self._standing = None
                self._settle(line.ask(op, timeout=None, **fields))
            except BaseException:
                # An interrupted request may still be answered, into the next one's place.
                self._drop_own()
                raise

    def _drop_own(self) -> None:
        self._standing = None
        if self._own is not None:
            self._own.close()
            self._own = None

    def _aside(self, op: str, **fields: Any) -> dict[str, Any]:
        """Make a request that is answered at once, from any thread, past one that blocks."""
        with self._side_turn:
            try:
                self._side = self._side or _Line(self._endpoint)
                return self._side.ask(op, **fields)
            except BaseException:
                if self._side is not None:
                    self._side.close()
                    self._side = None
                raise


def open_clock(
    config: ClockSettings, *, start: datetime | None, participant: str = "", kind: str = "work"
) -> Clock:
    """Open the run's clock; for a virtual one attach as `participant` of `kind` `work` or `poll`.

    Args:
        config: The run file's `clock` section.
        start: Run time 0 on the real clock, aware; None means now.
        participant: Name in the virtual clock, `rank:SITE` or `agent:SITE`.
        kind: `work` for who trains, `poll` for who only looks from time to time.

    Raises:
        ConfigError: A virtual clock without a participant.
        CoordinationError: The virtual clock's service does not answer.
    """
    if config.kind == "real":
        return SystemClock(start)
    if not participant:
        raise ConfigError("clock.kind is virtual; who opens it must name itself as a participant")
    return VirtualClock(config.endpoint, participant, kind)
