"""Notices in real time that ranks have ended, so that a virtual clock does not wait for them for ever."""

import threading
from contextlib import suppress

from curtail_dist.clock import Clock
from curtail_dist.errors import CoordinationError, ProvisionError
from curtail_dist.membership.provision import Provisioner
from curtail_dist.units import Seconds

_LOOK_S = 0.2
_JOIN_S = 15.0


class RanksWatch:
    """A thread that releases the ranks' reservation when they have ended; it ends then, or with `stop`.

    Their agent cannot do it: it may sleep until a moment that the clock reaches only once the ranks have
    come.
    """

    def __init__(
        self, provisioner: Provisioner, clock: Clock, participant: str, *, look_s: Seconds = _LOOK_S
    ) -> None:
        """Watch the ranks that run now, whose name in the clock is `participant`."""
        self._provisioner = provisioner
        self._clock = clock
        self._participant = participant
        self._look_s = look_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{participant}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and join it; idempotent. Nothing is released after this."""
        self._stopping.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._look_s):
            if not self._run_on():
                with suppress(
                    CoordinationError
                ):  # The clock is gone: the agent learns it by its own next call.
                    self._clock.release(self._participant)
                return

    def _run_on(self) -> bool:
        """Whether the ranks run, as far as is known: what is not known is the agent's to tell."""
        try:
            return self._provisioner.poll().running
        except ProvisionError:
            return True
