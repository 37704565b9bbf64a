"""etcd's token for a user: asked for with the password, and anew when etcd no longer takes it."""

import threading
import time
from collections.abc import Callable

from curtail_dist.coordination.access import PasswordFile
from curtail_dist.coordination.answers import NoAnswer
from curtail_dist.errors import ConfigError, CoordinationError


class Login:
    """The token that a handle shows etcd with each call. Thread-safe: one thread at a time asks for it.

    The token stays in memory. etcd forgets it when it restarts, or some minutes after its last use.
    """

    def __init__(self, user: str, password: PasswordFile) -> None:
        """Ask for nothing yet."""
        self.user = user
        self._password = password
        self._lock = threading.Lock()
        self._token: str | None = None

    def token(
        self, endpoint: str, ask: Callable[[str, str], str], *, refused: str | None, until: float
    ) -> str:
        """Return the token to use in place of `refused`, the one that etcd at `endpoint` did not take.

        `ask(user, password)` fetches one; what it raises is raised here. NoAnswer where another thread takes
        until `until` (monotonic) over it; CoordinationError where the password is no longer in its file.
        """
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise NoAnswer(endpoint, "no token in time", sent=False)
        try:
            if self._token is None or self._token == refused:
                self._token = None
                self._token = ask(self.user, self._read())
            return self._token
        finally:
            self._lock.release()

    def _read(self) -> str:
        try:
            return self._password.read()
        except ConfigError as error:
            raise CoordinationError(str(error)) from error

    def forget(self, token: str) -> None:
        """Have the next call ask for another than this."""
        with self._lock:
            if self._token == token:
                self._token = None
