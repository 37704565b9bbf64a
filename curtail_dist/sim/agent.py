"""A site's agent in the simulation: starts processes, asks them to leave, starts them again when they end."""

from collections.abc import Callable

from curtail_dist.errors import CurtailError, StateError
from curtail_dist.membership.effects import Effect
from curtail_dist.membership.notice import Notice, asking
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Commit, Epoch, Member
from curtail_dist.sim import calls, holding, meeting, training
from curtail_dist.sim.process import Handler, Mutant, Process, Trap
from curtail_dist.sim.setting import KEYS
from curtail_dist.sim.world import World
from curtail_dist.units import Seconds

_RETRY_S = 1.0
_PATIENT = 0.25
"""Share of the drains that let the open round end as it was planned."""
_NOWHERE_S = 5.0
"""How long after a process that found the state nowhere another one looks for it."""
_HANDLERS: dict[type[Effect[object]], Handler] = {
    **calls.handlers(),
    **meeting.handlers(),
    **holding.handlers(),
    **training.handlers(),
}


class Agent:
    """One site's agent. It is never broken itself."""

    def __init__(self, world: World, site: str, *, trap: Trap, mutant: Mutant | None) -> None:
        """Begin with no process; `start` comes next."""
        self._world = world
        self.site = site
        self._trap = trap
        self._mutant = mutant
        self.process: Process | None = None
        """The newest one, while it lives."""
        self.wanted = True
        """Whether the site is to take part."""
        self.restart_s: Seconds = 1.0
        """How long after its end a process is started anew."""
        self._incarnations = 0

    @property
    def complete(self) -> bool:
        """Whether the run is complete."""
        head = self._world.store.contents.get(KEYS.head)
        return head is not None and Commit.decode(head.value).complete

    def start(self, *, beside: bool = False) -> None:
        """Start a process if the site is to take part and has none; with `beside` in any case."""
        if (self.process is not None and not beside) or not self.wanted or self.complete:
            return
        self._incarnations += 1
        me = Member(
            site=self.site, incarnation=str(self._incarnations), host=self.site, group_port=1, state_port=2
        )
        self.process = Process(
            self._world,
            Part(me=me, keys=KEYS, rules=self._world.setting.rules),
            _HANDLERS,
            trap=self._trap,
            exited=self._exited,
            mutant=self._mutant,
        )

    def drain(self, lasts: Seconds) -> None:
        """Ask the site to leave, at once or with the open round's end, and to come back after a while."""
        self.wanted = False
        after_commit = self._world.kernel.between(0.0, 1.0) < _PATIENT
        self._write(lambda: self._put(Notice(reason="simulated", after_commit=after_commit)))
        self._world.kernel.after(lasts, self.ask_back)

    def ask_back(self) -> None:
        """Take the request to leave back; start a process if none waited."""
        if not self.wanted:
            self.wanted = True
            self._write(lambda: self._world.store.contents.delete(KEYS.drain(self.site)))
            self.start()

    def _put(self, notice: Notice) -> None:
        if not self.wanted:
            contents = self._world.store.contents
            epoch, head = contents.get(KEYS.epoch), contents.get(KEYS.head)
            puts = asking(
                KEYS,
                self.site,
                notice,
                epoch=None if epoch is None else Epoch.decode(epoch.value),
                head=None if head is None else Commit.decode(head.value),
            )
            contents.transact(compare={}, puts=puts, lease=0)

    def _write(self, work: Callable[[], object]) -> None:
        """Write until it is certain."""

        def reply(_value: object, error: CurtailError | None) -> None:
            if error is not None:
                self._world.kernel.after(_RETRY_S, self._write, work)

        self._world.store.call(self.site, work, reply)

    def _exited(self, process: Process) -> None:
        if process is self.process:
            self.process = None
            wait_s = _NOWHERE_S if isinstance(process.error, StateError) else self.restart_s
            self._world.kernel.after(wait_s, self.start)
            self.restart_s = 1.0
