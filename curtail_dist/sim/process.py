"""One process in the simulation: the protocol's two generators, driven in virtual time, killed or stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curtail_dist.errors import CurtailError
from curtail_dist.membership.effects import Await, Effect, Steps, Train
from curtail_dist.membership.part import Part
from curtail_dist.membership.presence import keep_present
from curtail_dist.membership.protocol import take_part
from curtail_dist.sim.history import Steps as CountedSteps
from curtail_dist.sim.mirror import Mirror
from curtail_dist.sim.setting import KEYS
from curtail_dist.sim.snapshots import Snapshots
from curtail_dist.sim.state import Beyond, OpenRound, State
from curtail_dist.sim.world import World
from curtail_dist.units import Seconds

if TYPE_CHECKING:
    from curtail_dist.sim.network import Seat

PENDING = object()
"""What an effect's handler returns if the result comes later."""

Handler = Callable[["Process", "Fiber", Any], Any]
Mutant = Callable[[Steps[None], Part], Steps[None]]
"""Wraps a life: passes its effects on, some of them altered."""
Trap = Callable[["Process", "Fiber", Effect[Any], str], bool]
"""Called before, during and after each effect; True: the process was killed or stopped just now."""

_WAKE_S = 0.05


@dataclass(eq=False)
class Fiber:
    """One of the two generators."""

    name: str
    steps: Steps[Any]
    turn: int = 0
    """Grows with each effect, so that a late answer to an earlier one is known as such."""
    effect: Effect[Any] | None = None
    """What it waits for."""


class Process:
    """One incarnation of one site. `exited` is called once, however it ends."""

    def __init__(
        self,
        world: World,
        part: Part,
        handlers: dict[type[Effect[Any]], Handler],
        *,
        trap: Trap,
        exited: Callable[["Process"], None],
        mutant: Mutant | None,
    ) -> None:
        """Begin empty; it starts when it has seen the run's keys."""
        self.world = world
        self.part = part
        self.me = part.me
        self.site = part.me.site
        self.name = f"{self.site}/{part.me.incarnation}"
        self._handlers = handlers
        self._trap = trap
        self._exited = exited
        life = take_part(part)
        self.life = Fiber("life", mutant(life, part) if mutant else life)
        self.presence = Fiber("presence", keep_present(part))
        self.mirror = Mirror(world.kernel, world.store, KEYS, site=self.site, changed=self._changed)
        self.alive = True
        self.over = False
        """Whether the life has ended."""
        self.hung = ""
        """`all` or `life` while it is stopped."""
        self.hung_at: Seconds = 0.0
        self._inbox: list[Callable[[], None]] = []
        self._begun = False
        self.failure: BaseException | None = None
        """What ended the presence."""
        self.lease: int | None = None
        self.seat: Seat | None = None
        self.state: State = world.remember(State.fresh())
        self.copy: State | None = None
        self.gathered: dict[int, Any] = {}
        self.open_round = OpenRound()
        self.beyond = Beyond()
        self.rounds = 0
        self.entered = False
        self.error: BaseException | None = None
        """What ended the life."""
        self.snapshots = Snapshots(world, self.name, self.site, lambda: self.mirror.view, lambda: self.alive)
        world.processes[self.me] = self
        world.store.attach(self.mirror)
        world.history.add(self.name, "started")
        world.kernel.after(0.0, self.mirror.list_anew)

    def answer(self, fiber: Fiber, value: Any = None, error: BaseException | None = None) -> None:
        """Resume a fiber with the result of the effect it waits for now, unless it is stopped."""
        self._answer(fiber, fiber.turn, value, error)

    def answering(self, fiber: Fiber) -> Callable[[Any, BaseException | None], None]:
        """Return what resumes a fiber with the result of its present effect."""
        turn = fiber.turn
        return lambda value, error: self._answer(fiber, turn, value, error)

    def kill(self) -> None:
        """End without a word: connections close, the lease stays."""
        if not self.alive:
            return
        self.world.history.add(self.name, "killed")
        self._lose("killed")
        if self.seat is not None:
            self.seat.leave(abrupt=True)
        self._end()

    def hang(self, what: str, lasts: Seconds) -> None:
        """Stop both generators (`all`) or the life alone (`life`) for a while."""
        if not self.alive or self.hung or self.over:
            return
        self.world.history.add(self.name, "hung", f"{what}, for {lasts:.1f} s")
        self.hung, self.hung_at = what, self.world.kernel.now
        if what == "all":
            self.mirror.freeze()
        self.world.kernel.after(lasts, self.wake_up)

    def wake_up(self) -> None:
        """Go on, with what has come meanwhile."""
        if not self.alive or not self.hung:
            return
        self.world.history.add(self.name, "woke")
        if self.hung == "all":
            self.mirror.thaw()
        self.hung = ""
        inbox, self._inbox = self._inbox, []
        for action in inbox:
            self.world.kernel.after(self.world.kernel.between(0.0, _WAKE_S), action)

    def terminate(self) -> None:
        """SIGTERM: the process is to leave in order."""
        if self.alive:
            self.mirror.end()

    def nudge(self) -> None:
        """Have both generators try what they await again."""
        for fiber in (self.life, self.presence):
            if isinstance(fiber.effect, Await):
                self._check(fiber)

    def _changed(self) -> None:
        if not self._begun and self.alive:
            self._begun = True
            for fiber in (self.life, self.presence):
                self.world.kernel.after(0.0, self._go_on, fiber, None, None)
        self.nudge()
        if self.seat is not None and not self.over:
            self.seat.check()

    def _check(self, fiber: Fiber) -> None:
        """Try what a fiber awaits; it must be in an Await."""
        if self._stopped(fiber) or not isinstance(fiber.effect, Await):
            return
        found = fiber.effect.check(self.mirror.view)
        if found is not None:
            self.answer(fiber, found)

    def _stopped(self, fiber: Fiber) -> bool:
        return self.hung == "all" or (self.hung == "life" and fiber is self.life)

    def _answer(self, fiber: Fiber, turn: int, value: Any, error: BaseException | None) -> None:
        if not self.alive or fiber.turn != turn or fiber.effect is None:
            return
        if self._stopped(fiber):
            self._inbox.append(lambda: self._answer(fiber, turn, value, error))
            return
        if self._trap(self, fiber, fiber.effect, "after"):
            if self.alive:
                self._inbox.append(lambda: self._answer(fiber, turn, value, error))
            return
        self._go_on(fiber, value, error)

    def _go_on(self, fiber: Fiber, value: Any, error: BaseException | None) -> None:
        """Resume a generator, and carry out effects until one takes time."""
        while self.alive:
            fiber.turn += 1
            try:
                effect = fiber.steps.throw(error) if error is not None else fiber.steps.send(value)
            except StopIteration:
                self._finish(fiber, None)
                return
            except Exception as raised:  # noqa: BLE001 - whatever ends a generator is judged by the invariants
                self._finish(fiber, raised)
                return
            fiber.effect = effect
            if self._trap(self, fiber, effect, "before"):
                if self.alive:
                    turn = fiber.turn
                    self._inbox.append(lambda fiber=fiber, turn=turn: self._redo(fiber, turn))
                return
            value, error = self._carry_out(fiber, effect)
            if value is PENDING:
                return

    def _redo(self, fiber: Fiber, turn: int) -> None:
        """Carry out the effect before which the process was stopped."""
        effect = fiber.effect
        if not self.alive or fiber.turn != turn or effect is None:
            return
        if self._stopped(fiber):
            self._inbox.append(lambda: self._redo(fiber, turn))
            return
        value, error = self._carry_out(fiber, effect)
        if value is not PENDING:
            self._go_on(fiber, value, error)

    def _carry_out(self, fiber: Fiber, effect: Effect[Any]) -> tuple[Any, BaseException | None]:
        if fiber is self.life and self.failure is not None:
            return None, self.failure
        try:
            value = self._handlers[type(effect)](self, fiber, effect)
        except (CurtailError, OSError) as error:
            return None, error
        if value is PENDING and fiber.effect is effect:
            self._trap(self, fiber, effect, "during")
        return value, None

    def _finish(self, fiber: Fiber, error: BaseException | None) -> None:
        fiber.effect = None
        if fiber is self.life:
            self._close(error)
        elif self.over:
            self._end()
        elif error is not None:
            self.failure = error
            if self.life.effect is not None and not isinstance(self.life.effect, Train):
                self.answer(self.life, error=error)

    def _close(self, error: BaseException | None) -> None:
        """The life is over: withdraw the presence, then exit."""
        self.over, self.error = True, error
        said = "" if error is None else f"{type(error).__name__}: {error}"
        self.world.history.add(self.name, "ended", said)
        self._lose("ended")
        if self.seat is not None:
            self.seat.leave()
            self.seat = None
        self.part.closed = True
        if self.presence.effect is None:
            self._end()
            return
        self.world.kernel.after(0.0, self.nudge)
        self.world.kernel.after(15.0, self._end)

    def _lose(self, reason: str) -> None:
        if self.open_round.steps:
            payload = self.open_round.payload
            lost = CountedSteps(self.open_round.steps, reason, payload.id if payload else "")
            self.world.history.add(self.name, "lost", lost)
        steps = self.beyond.flying.steps + self.beyond.behind.steps
        if steps:
            self.world.history.add(self.name, "lost", CountedSteps(steps, reason, ""))
        self.open_round, self.beyond = OpenRound(), Beyond()

    def _end(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self.mirror.closed = True
        self.world.store.detach(self.mirror)
        del self.world.processes[self.me]
        self.world.history.add(self.name, "exited")
        for fiber in (self.life, self.presence):
            fiber.turn += 1
        self._exited(self)
