"""An exchange under way while the site trains on: the protocol goes on in a thread of its own.

It goes as far as it can without the local parameters, which the training loop is changing. From there on the
training loop carries it out again, once it has done its steps.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from curtail_dist.membership import effects as do
from curtail_dist.runtime.drive import Perform, go_on
from curtail_dist.units import Seconds

GROUND: tuple[type[do.Effect[Any]], ...] = (
    do.Swap,
    do.Reset,
    do.Pull,
    do.Load,
    do.Secure,
    do.TakeKept,
    do.Train,
)
"""Effects that read or set the local parameters."""

_LOOK_S: Seconds = 0.02


class Flights:
    """Flies one exchange at a time, each in a thread that nobody waits for at the end of the process."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._landing: Future[do.Effect[Any]] | None = None
        self._pilot: threading.Thread | None = None

    @property
    def under_way(self) -> bool:
        """Whether one has begun and was not landed."""
        return self._landing is not None

    @property
    def here(self) -> bool:
        """Whether this is the flight's own thread."""
        return threading.current_thread() is self._pilot

    def begin(self, life: do.Steps[None], perform: Perform, effect: do.Effect[Any]) -> None:
        """Carry out `effect`, and what comes after it, up to one of GROUND."""
        landing: Future[do.Effect[Any]] = Future()

        def fly() -> None:
            try:
                landing.set_result(go_on(life, perform, effect, until=GROUND))
            except BaseException as error:  # noqa: BLE001 - it is raised where the flight lands
                landing.set_exception(error)

        self._landing = landing
        self._pilot = threading.Thread(target=fly, name="flight", daemon=True)
        self._pilot.start()

    def land(self, waiting: Callable[[], None]) -> do.Effect[Any]:
        """Return the effect that is to be carried out next; `waiting` is called while that takes time.

        Raises what the protocol raised, Finished at its end.
        """
        landing = self._landing
        assert landing is not None, "a flight was begun"
        while not wait([landing], timeout=_LOOK_S).done:
            waiting()
        self._landing = None
        return landing.result()
