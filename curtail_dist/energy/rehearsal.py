"""A policy played in virtual time at all sites of a run: polls, joins, drains, and work that gets done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from curtail_dist.energy.course import Course, Played, Rhythm
from curtail_dist.energy.policy import Advice, Policy, PolicyMemory
from curtail_dist.energy.signals import Reading
from curtail_dist.units import Seconds

Read = Callable[[str, Seconds], Reading | None]
"""What a site's signal says at a run time; None where it says nothing."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One site at one moment of a rehearsal."""

    phase: str = "off"
    """`off`, `join`, `train` or `drain`."""
    until: Seconds = 0.0
    """When joining or draining is over."""
    capped: bool = False
    memory: PolicyMemory = field(default_factory=PolicyMemory)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a site did."""

    t: Seconds
    site: str
    what: str
    """`join` and `up`; `marked` (too high for the first time) and `reset`; `drain` and `removed`; `back` (a
    drain was taken back) and `cancelled` (a join was)."""
    g_per_kwh: float | None = None
    """The reading it rests on."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How sites are asked, and what they take to follow."""

    poll_s: Seconds
    rhythm: Rhythm
    drains_s: Sequence[Seconds] = (0.0,)
    """What the first drains take, of whatever site; the last of these holds for all further ones."""
    blocking: bool = False
    """As the published prototype did: while a site joins no other is asked, and nothing is taken back."""


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What came of it."""

    played: Played
    windows: Mapping[str, Sequence[tuple[Seconds, Seconds]]]
    """By site: from the decision to start until ranks are gone; the last one ends with the work at the
    latest."""
    events: Sequence[Event]


class Rehearsal:
    """One run of a policy. `play` may be called once."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        *,
        read: Read,
        manner: Manner,
        work_s: Seconds,
        plan: Callable[[Seconds, Course, Mapping[str, Standing]], Advice] | None = None,
        replan_s: Seconds = 300.0,
        speeds: Mapping[str, float] | None = None,
    ) -> None:
        """Prepare; `plan` is asked every `replan_s` where the policy follows a plan."""
        self._policies = policies
        self._read = read
        self._manner = manner
        self._plan = plan
        self._replan_s = replan_s
        self._speeds = speeds or {}
        self._course = Course(policies, work_s=work_s, rhythm=manner.rhythm)
        self._sites = {name: Standing() for name in policies}
        self._events: list[Event] = []
        self._drains = 0
        self._blocked_until: Seconds = 0.0
        self._advice: Advice | None = None
        self._planned_at: Seconds | None = None

    def play(self, until: Seconds) -> Rehearsed:
        """Ask the policy from run time 0 to `until`, or until the work is done."""
        poll = 0
        while (now := poll * self._manner.poll_s) < until and self._course.finished_at is None:
            self._pass(now)
            if self._course.finished_at is None:
                self._poll(now)
            poll += 1
        if self._course.finished_at is None:
            self._pass(until)
        course = self._course
        end = until if course.finished_at is None else course.finished_at
        return Rehearsed(
            played=course.played,
            windows={name: _windows(self._events, name, end) for name in self._sites},
            events=self._events,
        )

    def _pass(self, to: Seconds) -> None:
        """Let time pass, and joins and drains end in it."""
        while self._course.now < to and self._course.finished_at is None:
            ends = [s.until for s in self._sites.values() if s.phase in ("join", "drain")]
            stop = min([to, *(end for end in ends if end > self._course.now)])
            self._course.advance(
                stop,
                {name: _phase(site) for name, site in self._sites.items() if site.phase != "off"},
                speeds=self._speeds,
            )
            for name, site in self._sites.items():
                if site.until <= self._course.now and site.phase in ("join", "drain"):
                    self._end(name, site)

    def _end(self, name: str, site: Standing) -> None:
        joined = site.phase == "join"
        self._note(site.until, name, "up" if joined else "removed")
        self._sites[name] = replace(site, phase="train" if joined else "off")

    def _poll(self, now: Seconds) -> None:
        if self._plan and (self._planned_at is None or now - self._planned_at >= self._replan_s - 1e-6):
            self._advice, self._planned_at = self._plan(now, self._course, self._sites), now
        for name in self._sites:
            if now >= self._blocked_until:
                self._ask(name, now)

    def _ask(self, name: str, now: Seconds) -> None:
        site, reading = self._sites[name], self._read(name, now)
        wanted = None if self._advice is None else self._advice.wanted.get(name)
        running = site.phase in ("join", "train")
        decision, memory = self._policies[name].decide(
            site.memory, running=running, reading=reading, now=now, wanted=wanted
        )
        value = None if reading is None else reading.value
        if site.phase != "off" and memory.above_since != site.memory.above_since:
            cleared = memory.above_since is None
            if not (cleared and decision.action == "drain"):
                self._note(now, name, "reset" if cleared else "marked", value)
        site = replace(site, memory=memory, capped=decision.capped)
        self._sites[name] = self._obeyed(name, site, decision.action, now, value)

    def _obeyed(self, name: str, site: Standing, action: str, now: Seconds, value: float | None) -> Standing:
        manner = self._manner
        if action == "start" and site.phase == "off":
            self._note(now, name, "join", value)
            if manner.blocking:
                self._blocked_until = now + manner.rhythm.join_s
            return self._begun(name, replace(site, phase="join", until=now + manner.rhythm.join_s), now)
        if action == "start" and site.phase == "drain" and not manner.blocking:
            self._note(now, name, "back", value)
            return replace(site, phase="train")
        if action == "drain" and site.phase == "train":
            self._note(now, name, "drain", value)
            takes = manner.drains_s[min(self._drains, len(manner.drains_s) - 1)]
            self._drains += 1
            return self._begun(name, replace(site, phase="drain", until=now + takes), now)
        if action == "drain" and site.phase == "join" and not manner.blocking:
            self._note(now, name, "cancelled", value)
            self._note(now, name, "removed")
            return replace(site, phase="off")
        return site

    def _begun(self, name: str, site: Standing, now: Seconds) -> Standing:
        """Return a site that joins or drains; what takes no time is over."""
        if site.until > now:
            return site
        self._end(name, site)
        return self._sites[name]

    def _note(self, t: Seconds, site: str, what: str, value: float | None = None) -> None:
        self._events.append(Event(t=t, site=site, what=what, g_per_kwh=value))


def _phase(site: Standing) -> str:
    if site.phase == "join":
        return "join"
    return "capped" if site.capped else "train"


def _windows(events: Sequence[Event], name: str, end: Seconds) -> list[tuple[Seconds, Seconds]]:
    found: list[tuple[Seconds, Seconds]] = []
    since: Seconds | None = None
    for event in (event for event in events if event.site == name):
        if event.what == "join":
            since = event.t
        elif event.what == "removed" and since is not None:
            found.append((since, event.t))
            since = None
    return found if since is None else [*found, (since, end)]
