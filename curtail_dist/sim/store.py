"""The coordination store in virtual time: delayed, lossy, cut off from sites, or down."""

from collections.abc import Callable, Sequence
from typing import Any

from curtail_dist.coordination.keyspace import Keyspace
from curtail_dist.coordination.store import Change
from curtail_dist.errors import CurtailError, StoreUnavailable
from curtail_dist.sim.history import History, Write
from curtail_dist.sim.kernel import Kernel
from curtail_dist.sim.mirror import Mirror
from curtail_dist.units import Seconds

Reply = Callable[[Any, CurtailError | None], None]
"""Called once with the answer, or with what the call raises."""

TIMEOUT_S = 1.0
"""After which a call counts as unanswered; a request may still arrive later."""
_REFUSED_S = 0.02
_TICK_S = 0.001


class SimStore:
    """One linearizable store. Its leases stand still while it is down, and begin anew when it is back."""

    def __init__(self, kernel: Kernel, history: History) -> None:
        """Begin empty and reachable by all."""
        self._kernel = kernel
        self._history = history
        self._stood_still: Seconds = 0.0
        self._down_since: Seconds | None = None
        self.contents = Keyspace()
        """What it holds, as of the last request or tick."""
        self._published = self.contents.revision
        self._mirrors: list[Mirror] = []
        self.cut: dict[str, Seconds] = {}
        """Sites that do not reach it, since when."""
        self.mute: list[str] = []
        """Sites whose next answer is lost, though what they asked for happens."""
        self.loss = 0.0
        """Share of the calls whose request or answer is lost."""
        self.slow = 0.0
        """Share of the requests that take longer than the timeout, or nearly."""
        self.lag_s: Seconds = 0.01
        """Greatest delay of what watchers are told."""
        self.most_keys = 0
        """Greatest number of keys at any time."""

    @property
    def down_since(self) -> Seconds | None:
        """Since when it is down, None while it is up."""
        return self._down_since

    def reaches(self, site: str) -> bool:
        """Whether a site and the store reach each other."""
        return self._down_since is None and site not in self.cut

    def call(self, who: str, work: Callable[[], Any], reply: Reply) -> None:
        """Carry out `work` for a process or an agent when the request arrives, and answer."""
        call = _Call(who, work, reply, began=self._kernel.now, of=self.contents)
        if not self.reaches(call.site) and self._kernel.chance(0.5):
            self._kernel.after(_REFUSED_S, call.give_up)
        elif self._kernel.chance(self.loss / 2):
            self._give_up_in_time(call)
        else:
            there = self._delay()
            if there > TIMEOUT_S:
                self._give_up_in_time(call)
            self._kernel.after(there, self._arrive, call)

    def grant(self, ttl: Seconds) -> int:
        """Grant a lease; called as the work of a call."""
        lease = self.contents.grant(ttl)
        self._kernel.after(ttl + _TICK_S, self.tick)
        return lease

    def renew(self, lease: int, ttl: Seconds) -> None:
        """Renew a lease; called as the work of a call. Raises LeaseExpired."""
        self.contents.keep_alive(lease)
        self._kernel.after(ttl + _TICK_S, self.tick)

    def tick(self) -> None:
        """End leases whose time is over."""
        if self._down_since is None:
            self.contents.advance(self._time())
            self.publish("store")

    def attach(self, mirror: Mirror) -> None:
        """Tell a process of all changes from now on."""
        self._mirrors.append(mirror)

    def detach(self, mirror: Mirror) -> None:
        """Tell it no more."""
        self._mirrors.remove(mirror)

    def publish(self, writer: str) -> None:
        """Note what was changed, and tell it to who watches."""
        contents = self.contents
        changes = contents.changes_since(self._published)
        if not changes:
            return
        self._published = contents.revision
        contents.compact(contents.revision + 1)
        self._remember(writer, changes)
        for mirror in self._mirrors:
            if mirror.connected and self.reaches(mirror.site):
                mirror.offer(changes, self._kernel.between(0.001, self.lag_s))

    def stop(self) -> None:
        """Go down: nothing is answered, no lease ends."""
        if self._down_since is None:
            self._down_since = self._kernel.now
            for mirror in self._mirrors:
                mirror.sever()

    def restart(self, ttl: Seconds) -> None:
        """Come back with all data; every lease that stood gets its whole time again."""
        if self._down_since is None:
            return
        self._stood_still += self._kernel.now - self._down_since
        self._down_since = None
        self.contents.extend_leases()
        self._kernel.after(ttl + _TICK_S, self.tick)

    def forget(self) -> None:
        """Lose all data: another store answers in its place, and nothing that was under way reaches it."""
        former = self.contents
        self.contents = Keyspace(cluster=former.cluster + 1)
        self.contents.stand_in_for(former)
        self._published = self.contents.revision
        for mirror in self._mirrors:
            mirror.sever()

    def cut_off(self, site: str) -> None:
        """Part a site from the store."""
        self.cut[site] = self._kernel.now
        for mirror in self._mirrors:
            if mirror.site == site:
                mirror.sever()

    def rejoin(self, site: str) -> None:
        """Let a site reach the store again."""
        self.cut.pop(site, None)

    def _arrive(self, call: "_Call") -> None:
        if not self.reaches(call.site) or call.of is not self.contents:
            self._give_up_in_time(call)
            return
        value, error = None, None
        self.contents.advance(self._time())
        try:
            value = call.work()
        except CurtailError as raised:
            error = raised
        self.publish(call.who)
        back = self._delay()
        if call.site in self.mute:
            self.mute.remove(call.site)
            self._give_up_in_time(call)
        elif self._kernel.now + back - call.began > TIMEOUT_S or self._kernel.chance(self.loss / 2):
            self._give_up_in_time(call)
        else:
            self._kernel.after(back, self._answer, call, value, error)

    def _answer(self, call: "_Call", value: Any, error: CurtailError | None) -> None:
        if self.reaches(call.site):
            call.answer(value, error)
        else:
            self._give_up_in_time(call)

    def _give_up_in_time(self, call: "_Call") -> None:
        self._kernel.after(max(0.0, call.began + TIMEOUT_S - self._kernel.now), call.give_up)

    def _delay(self) -> Seconds:
        kernel = self._kernel
        if kernel.chance(self.slow):
            return kernel.between(0.3, 1.5 * TIMEOUT_S)
        return kernel.between(0.001, 0.01)

    def _time(self) -> Seconds:
        return self._kernel.now - self._stood_still

    def _remember(self, writer: str, changes: Sequence[Change]) -> None:
        for change in changes:
            value = change.entry.value if change.entry is not None else None
            self._history.add(writer, "write", Write(change.revision, change.key, value))
        self.most_keys = max(self.most_keys, len(self.contents.list("").entries))


class _Call:
    """One call under way. It is answered once; what it asked for may happen after that."""

    def __init__(
        self, who: str, work: Callable[[], Any], reply: Reply, *, began: Seconds, of: Keyspace
    ) -> None:
        self.of = of
        """The store that it was asked of."""
        self.who = who
        self.site = who.split("/")[0]
        self.work = work
        self.began = began
        self._reply: Reply | None = reply

    def answer(self, value: Any, error: CurtailError | None) -> None:
        """Answer, if that has not been done."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(value, error)

    def give_up(self) -> None:
        """Answer that there was no answer."""
        self.answer(None, StoreUnavailable("the store did not answer in time"))
