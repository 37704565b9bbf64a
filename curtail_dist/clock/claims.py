"""When virtual time may move, and to what moment: the rules, without sockets or threads.

A participant works in no time at all and then claims the duration its work counts for. Time stands still
while anybody is busy and moves to the least claim once nobody is. In full:

- A *busy* participant holds the clock. One that *claims* holds it at its moment. One that *waits* for a peer
  does not hold it.
- A *reservation* is a claim made for a participant that is on its way: time moves up to that moment and stays
  there until the participant has arrived or is released.
- While a work participant waits and no work participant has a claim or a reservation, time holds: they are
  talking to each other in real time. Polls do not move it then. With no work participant waiting, polls alone
  move it.
- A work participant that is lost (its connection broke without a farewell) is expected back: it is reserved
  again from that moment on, for the duration of its last reservation. A lost poll participant is forgotten.
- Whoever claimed the moment that time moves to becomes busy, all of them at once.
"""

from dataclasses import dataclass
from enum import Enum

from curtail_dist.errors import CoordinationError
from curtail_dist.units import Seconds

KINDS = ("poll", "work")


class Stance(Enum):
    """What a participant is doing to the clock."""

    EXPECTED = "expected"
    """It has a reservation and has not arrived; it may be attached already and setting up."""
    BUSY = "busy"
    CLAIMING = "claiming"
    WAITING = "waiting"


@dataclass
class _Participant:
    kind: str
    stance: Stance
    attached: bool
    claim: Seconds = 0.0
    """The moment it claims; read only while CLAIMING."""
    reserved: Seconds | None = None
    """The moment it is expected at; None once it has arrived."""
    duration: Seconds | None = None
    """Length of its last reservation."""
    kept: bool = False
    """Whether a farewell, too, turns into a reservation."""


class Claims:
    """The participants and the time.

    Not thread-safe: its owner serializes the calls, and calls `advance` after each.
    """

    def __init__(self, now: Seconds = 0.0) -> None:
        """Begin at `now` without participants."""
        self._now = now
        self._all: dict[str, _Participant] = {}

    @property
    def now(self) -> Seconds:
        """The run time; it never goes back."""
        return self._now

    def stance(self, name: str) -> Stance | None:
        """Return what the participant does; None when it is unknown."""
        found = self._all.get(name)
        return found.stance if found else None

    def attached(self, name: str) -> bool:
        """Return whether the participant is here, not merely expected."""
        found = self._all.get(name)
        return found is not None and found.attached

    def attach(self, name: str, kind: str) -> None:
        """Let a participant in: busy, or, where a moment is reserved for it, expected until it arrives."""
        if kind not in KINDS:
            raise CoordinationError(
                f"clock participant {name!r} is of kind {kind!r}; it must be poll or work"
            )
        if self.attached(name):
            raise CoordinationError(f"clock participant {name!r} is attached; it must leave first")
        expected = self._all.get(name)
        if expected is None:
            self._all[name] = _Participant(kind=kind, stance=Stance.BUSY, attached=True)
        else:
            expected.kind, expected.attached = kind, True

    def claim(self, name: str, duration: Seconds) -> None:
        """Stop being busy until `duration` seconds (at least 0) from now; ends an outstanding reservation."""
        if not duration >= 0:
            raise CoordinationError(f"clock participant {name!r} claims {duration} s; it must be at least 0")
        self._claim_moment(self._here(name), self._now + duration)

    def arrive(self, name: str) -> None:
        """Claim the reserved moment; busy at once where there is none or it has passed."""
        participant = self._here(name)
        self._claim_moment(participant, self._now if participant.reserved is None else participant.reserved)

    def wait(self, name: str) -> None:
        """Begin to wait for a peer. A reservation stays."""
        self._here(name).stance = Stance.WAITING

    def resume(self, name: str) -> None:
        """End waiting, or take a claim back."""
        participant = self._here(name)
        participant.stance = Stance.BUSY if participant.reserved is None else Stance.EXPECTED

    def reserve(self, name: str, duration: Seconds) -> None:
        """Expect `name` in `duration` seconds from now.

        Where it is expected or here already, its place is kept instead: it is not expected any sooner, and
        whenever it leaves, in order or not, it is expected again `duration` seconds after that, until
        released.
        """
        if not duration >= 0:
            raise CoordinationError(
                f"clock participant {name!r} is due in {duration} s; it must be at least 0"
            )
        participant = self._all.get(name)
        if participant is None:
            moment = self._now + duration
            self._all[name] = _Participant(
                kind="work", stance=Stance.EXPECTED, attached=False, reserved=moment, duration=duration
            )
        else:
            participant.kept, participant.duration = True, duration

    def release(self, name: str) -> None:
        """End a reservation and forget how long it was; unknown names are ignored."""
        participant = self._all.get(name)
        if participant is None:
            return
        if not participant.attached:
            del self._all[name]
            return
        participant.reserved, participant.duration, participant.kept = None, None, False
        if participant.stance is Stance.EXPECTED:
            participant.stance = Stance.BUSY

    def leave(self, name: str, *, lost: bool) -> None:
        """Let a participant go: `lost` when its connection broke without a farewell."""
        participant = self._here(name)
        returns = participant.kept or (lost and participant.kind == "work")
        if not returns or participant.duration is None:
            del self._all[name]
            return
        self._all[name] = _Participant(
            kind=participant.kind,
            stance=Stance.EXPECTED,
            attached=False,
            reserved=self._now + participant.duration,
            duration=participant.duration,
            kept=participant.kept,
        )

    def advance(self) -> tuple[str, ...]:
        """Move time as far as the rules allow; return who became busy by it, sorted."""
        everyone = self._all.values()
        if any(one.stance is Stance.BUSY for one in everyone) or self._exchanging():
            return ()
        moments = [one.claim for one in everyone if one.stance is Stance.CLAIMING]
        moments += [one.reserved for one in everyone if one.reserved is not None]
        if not moments:
            return ()
        self._now = max(self._now, min(moments))
        woken = sorted(
            name
            for name, one in self._all.items()
            if one.stance is Stance.CLAIMING and one.claim <= self._now
        )
        for name in woken:
            self._all[name].stance = Stance.BUSY
        return tuple(woken)

    def _exchanging(self) -> bool:
        """Whether work participants wait and none of them has a moment that time could move to."""
        work = [one for one in self._all.values() if one.kind == "work"]
        return any(one.stance is Stance.WAITING for one in work) and not any(
            one.stance is Stance.CLAIMING or one.reserved is not None for one in work
        )

    def _claim_moment(self, participant: _Participant, moment: Seconds) -> None:
        participant.reserved = None
        participant.claim = moment
        participant.stance = Stance.CLAIMING if moment > self._now else Stance.BUSY

    def _here(self, name: str) -> _Participant:
        participant = self._all.get(name)
        if participant is None or not participant.attached:
            raise CoordinationError(f"clock participant {name!r} is not attached; it must attach first")
        return participant
