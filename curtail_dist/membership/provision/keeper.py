"""Ranks that run elsewhere: a thread that looks at them, and sees to it that orders are carried out.

Nobody who gives an order waits for it. It is carried out again until the place elsewhere has taken it for
certain, and what is known stands in memory. All that must outlive this process stands at the place.
"""

import logging
import threading
import time
from collections.abc import Mapping

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.place import NotYet, Place, Refused, Unanswered
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.membership.provision.standing import Ending, Order, RanksStanding
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_SILENT_S = 120.0
"""Without an answer for this long, what was known of ranks that ran is not known any more."""
_CLOSE_S = 30.0
_JOIN_S = 30.0
_FIRST_RETRY_S = 0.25
_LONGEST_RETRY_S = 20.0
"""However long a place wants to be left alone: less than a close may take."""
_FIRST_S = 3.0
"""From the opening on: so long a look waits for the first answer, which mostly comes in a moment."""
_SOON_S = 1.0
"""Between two looks while something is about to change, where `poll_s` is longer."""


class Keeper:
    """Keeps one site's ranks at a place, as a provisioner does. Owns the place and a thread until `close`.

    Every method may come from any thread.
    """

    def __init__(
        self, place: Place, *, site: str, poll_s: Seconds, accept_s: Seconds, stuck_s: Seconds
    ) -> None:
        """Begin to look, every `poll_s` and sooner while something changes; RanksStanding has the rest."""
        self._place = place
        self._site = site
        self._poll_s = poll_s
        self._changed = threading.Condition()
        """Held around all below."""
        self._standing = RanksStanding(
            lingers=place.lingers, told_code=place.told_code, accept_s=accept_s, stuck_s=stuck_s
        )
        self._opened = time.monotonic()
        self._silent_since: Seconds | None = self._opened
        self._trouble = "its first answer is awaited"
        self._retry_s: Seconds = 0.0
        """For how long the place is left alone, since it did not answer."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"keeper-{site}", daemon=True)
        self._thread.start()

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Have ranks begun. What is in the way is told by `poll`."""
        with self._changed:
            if self._closed:
                raise ProvisionError(f"the provisioner of {self._site} is closed; open another one")
            self._standing.start(dict(variables or {}), time.monotonic())
            self._changed.notify_all()

    def poll(self) -> RanksState:
        """Tell what is known."""
        with self._changed:
            until = self._opened + _FIRST_S
            while self._standing.state is None and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            state, since, now = self._standing.state, self._silent_since, time.monotonic()
            if state is None:
                raise ProvisionError(
                    f"it is not known whether ranks of {self._site} run: {self._trouble}; nothing is started "
                    "before it is"
                )
            if state.running and since is not None and now - since > _SILENT_S:
                raise ProvisionError(
                    f"for {now - since:.0f} s it is not known whether ranks of {self._site} still run: "
                    f"{self._trouble}"
                )
            return state

    def terminate(self) -> None:
        """Have them told to end."""
        self._tell("end")

    def kill(self) -> None:
        """Have them killed; the order stands until they are gone."""
        self._tell("kill")

    def close(self) -> None:
        """Kill what runs, wait until it is gone, and end the thread; idempotent."""
        self._tell("kill")
        deadline = time.monotonic() + _CLOSE_S
        with self._changed:
            if self._closed:
                return
            while not self._standing.at_rest and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            rests, trouble, self._closed = self._standing.at_rest, self._trouble, True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)
        self._place.close()
        if not rests:
            raise ProvisionError(
                f"ranks of {self._site} may still run, {_CLOSE_S:g} s after they were to be killed"
                f"{trouble and ': ' + trouble}; see to it by hand"
            )

    def _tell(self, kind: Ending) -> None:
        with self._changed:
            if not self._closed:
                self._standing.tell(kind, time.monotonic())
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                order = self._standing.order
                if self._closed:
                    return
            pause = self._turn(order)
            with self._changed:
                self._changed.notify_all()
                deadline = time.monotonic() + pause
                while not self._closed and (left := deadline - time.monotonic()) > 0:
                    if self._standing.order is not order and not self._retry_s:
                        break  # a new one; but a place that did not answer is left alone
                    self._changed.wait(left)

    def _turn(self, order: Order | None) -> Seconds:
        """Carry the order out and look; return how long to rest."""
        soon = min(_SOON_S, self._poll_s)
        try:
            taken = order is None or self._carry_out(order)
            seen = self._place.look()
        except NotYet as error:
            self._hear()
            with self._changed:
                self._standing.put_off(order, str(error), time.monotonic())
            return soon
        except Unanswered as error:
            return self._miss(order, error)
        except Refused as error:
            self._refuse(order, str(error))
            return self._poll_s
        except Exception as error:  # whatever the place raises, orders still have to be carried out
            log.exception("site %s: what starts and stops its ranks has failed", self._site)
            self._refuse(order, f"{type(error).__name__}: {error}")
            return self._poll_s
        if taken:
            self._hear()
        with self._changed:
            if not self._standing.saw(order, seen, time.monotonic()):
                return 0.0
            state = self._standing.state
            changing = self._standing.order is not None or bool(state and state.waiting)
            return soon if changing else self._poll_s

    def _carry_out(self, order: Order) -> bool:
        """Have the place take an order, one to kill again and again; say whether it did not refuse."""
        if order.given and order.kind != "kill":
            return True
        order.tried = True
        if order.kind == "begin":
            self._place.begin(order.variables)
        else:
            try:
                (self._place.end if order.kind == "end" else self._place.kill)()
            except Refused as error:
                self._note(str(error))
                return False
        order.given = True
        return True

    def _miss(self, order: Order | None, error: Unanswered) -> Seconds:
        """Take note that nothing was heard; return how long to leave the place alone."""
        self._note(str(error))
        with self._changed:
            doubled = min(2 * self._retry_s, self._poll_s) or min(_FIRST_RETRY_S, self._poll_s)
            self._retry_s = min(_LONGEST_RETRY_S, error.retry_after_s or doubled)
            self._standing.missed(order, str(error), time.monotonic())
            return self._retry_s

    def _refuse(self, order: Order | None, why: str) -> None:
        """Take note of a no: an order to begin has failed; a look is tried again."""
        if order is None or order.kind != "begin" or order.given:
            self._note(why)
            return
        with self._changed:
            self._standing.refused(order, why)

    def _note(self, trouble: str) -> None:
        with self._changed:
            if trouble != self._trouble:
                log.warning("site %s: %s", self._site, trouble)
            self._trouble = trouble
            self._silent_since = self._silent_since or time.monotonic()

    def _hear(self) -> None:
        with self._changed:
            if self._silent_since is not None:
                log.info("site %s: what starts and stops its ranks answers", self._site)
            self._silent_since, self._trouble, self._retry_s = None, "", 0.0
