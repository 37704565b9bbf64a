"""A policy played in virtual time at all sites of a run: polls, joins, drains, and work that gets done."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from curtail_dist.energy.course import Course, Played, Rhythm
from curtail_dist.energy.policy import Advice, Policy, next_plan
from curtail_dist.energy.provisioning import Provisioning
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import (
    Move,
    Stage,
    Standing,
    draining,
    failed,
    gone,
    polled,
    started,
    stayed,
    up,
)
from curtail_dist.units import Seconds

_PASSING = (Stage.JOINING, Stage.DRAINING)
Read = Callable[[str, Seconds], Reading | None]
"""What a site's signal says at a run time; None where it says nothing."""
Enter = Callable[[str, str, Seconds], None]
"""Told of a site, the phase that it is in, and the run time from which on."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """One site at one moment of a rehearsal."""

    standing: Standing = field(default_factory=Standing)
    until: Seconds = 0.0
    """When joining or draining is over."""
    starts: int = 0
    """How often it was started."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a site did."""

    t: Seconds
    site: str
    what: str
    """`join` and `up`, or `failed`; `marked` (too high for the first time) and `reset`; `drain` and
    `removed`; `back` (a drain was taken back) and `cancelled` (a join was)."""
    g_per_kwh: float | None = None
    """The reading it rests on."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How sites are asked, and what they take to follow."""

    poll_s: Seconds
    rhythm: Rhythm
    start_s: Seconds = 0.0
    """Run time 0 in Unix time."""
    drains_s: Sequence[Seconds] = (0.0,)
    """What the first drains take, of whatever site; the last of these holds for all further ones."""
    blocking: bool = False
    """As the published prototype did: while a site joins no other is asked, and nothing is taken back."""
    provisioning: Provisioning = field(default_factory=Provisioning)
    """What starts take, and how many fail."""
    speeds: Mapping[str, float] = field(default_factory=dict[str, float])
    """By site: its speed under its power cap, as a share of full speed."""


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
        plan: Callable[[Seconds, Course, Mapping[str, Player]], Advice] | None = None,
        replan_s: Seconds = 300.0,
        enter: Enter = lambda name, phase, since: None,
    ) -> None:
        """Prepare.

        Args:
            policies: By site.
            read: Asked at each poll.
            manner: How sites follow.
            work_s: Site-seconds of training to be done.
            plan: Asked every `replan_s` where the policy follows a plan, as `next_plan` has it.
            replan_s: Time between two plans.
            enter: Told each change of a site's phase, in order of time; all sites are off at first.
        """
        self._enter = enter
        self._phases: dict[str, str] = dict.fromkeys(policies, "off")
        self._policies = policies
        self._read = read
        self._manner = manner
        self._plan = plan
        self._replan_s = replan_s
        self._course = Course(policies, work_s=work_s, rhythm=manner.rhythm)
        self._sites = {name: Player() for name in policies}
        self._events: list[Event] = []
        self._drains = 0
        self._blocked_until: Seconds = 0.0
        self._advice: Advice | None = None
        self._next_plan: Seconds = -math.inf

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
            ends = [site.until for site in self._sites.values() if site.standing.stage in _PASSING]
            stop = min([to, *(end for end in ends if end > self._course.now)])
            there = {n: site for n, site in self._sites.items() if site.standing.stage is not Stage.OFF}
            phases = {name: _phase(site.standing) for name, site in there.items()}
            self._tell(phases)
            self._course.advance(stop, phases, speeds=self._manner.speeds)
            for name, site in self._sites.items():
                if site.until <= self._course.now and site.standing.stage in _PASSING:
                    self._sites[name] = self._ended(name, site)

    def _tell(self, phases: Mapping[str, str]) -> None:
        """Tell the phases that sites have come to be in."""
        for name, before in self._phases.items():
            phase = phases.get(name, "off")
            if phase != before:
                self._enter(name, phase, self._course.now)
                self._phases[name] = phase

    def _ended(self, name: str, site: Player) -> Player:
        """Return a site whose join or drain is over."""
        standing, now = site.standing, site.until
        if standing.stage is Stage.DRAINING:
            self._note(now, name, "removed")
            return replace(site, standing=gone(standing, now=now))
        _, fails = self._manner.provisioning.start(name, site.starts, self._manner.rhythm.join_s)
        self._note(now, name, "failed" if fails else "up")
        after = failed(standing, now=now, backoff_s=self._manner.poll_s) if fails else up(standing, now=now)
        return replace(site, standing=after)

    def _poll(self, now: Seconds) -> None:
        if self._plan and now >= self._next_plan - 1e-6:
            self._advice = self._plan(now, self._course, self._sites)
            self._next_plan = next_plan(now, every_s=self._replan_s, start_s=self._manner.start_s)
        for name in self._sites:
            if now >= self._blocked_until:
                self._ask(name, now)

    def _ask(self, name: str, now: Seconds) -> None:
        site, reading = self._sites[name], self._read(name, now)
        move, decision, standing = polled(
            site.standing,
            self._policies[name],
            reading=reading,
            now=now,
            wanted=None if self._advice is None else self._advice.wanted.get(name),
            cancels=not self._manner.blocking,
        )
        value = None if reading is None else reading.value
        self._note_mark(now, name, (site.standing, standing), decision.action, value)
        asked = site if standing is site.standing else replace(site, standing=standing)
        self._sites[name] = self._moved(name, asked, move, value)

    def _note_mark(
        self,
        now: Seconds,
        name: str,
        change: tuple[Standing, Standing],
        action: str,
        value: float | None,
    ) -> None:
        """Note that the intensity is too high for the first time, or is not any more."""
        before, since = change[0], change[1].memory.above_since
        cleared = since is None
        changed = before.stage is not Stage.OFF and since != before.memory.above_since
        if changed and not (cleared and action == "drain"):
            self._note(now, name, "reset" if cleared else "marked", value)

    def _moved(self, name: str, site: Player, move: Move, value: float | None) -> Player:
        standing, now, manner = site.standing, self._course.now, self._manner
        if move is Move.START:
            self._note(now, name, "join", value)
            number = site.starts + 1
            takes, _ = manner.provisioning.start(name, number, manner.rhythm.join_s)
            if manner.blocking:
                self._blocked_until = now + takes
            return self._begun(
                name, Player(standing=started(standing, now=now), until=now + takes, starts=number)
            )
        if move is Move.STAY:
            self._note(now, name, "back", value)
            return replace(site, standing=stayed(standing, now=now))
        if move is Move.DRAIN and standing.stage is Stage.JOINING:
            self._note(now, name, "cancelled", value)
            return self._begun(name, replace(site, standing=draining(standing, now=now), until=now))
        if move is Move.DRAIN:
            self._note(now, name, "drain", value)
            takes = manner.drains_s[min(self._drains, len(manner.drains_s) - 1)]
            self._drains += 1
            return self._begun(name, replace(site, standing=draining(standing, now=now), until=now + takes))
        return site

    def _begun(self, name: str, site: Player) -> Player:
        """Return a site that joins or drains; what takes no time is over."""
        return site if site.until > self._course.now else self._ended(name, site)

    def _note(self, t: Seconds, site: str, what: str, value: float | None = None) -> None:
        self._events.append(Event(t=t, site=site, what=what, g_per_kwh=value))


def _phase(standing: Standing) -> str:
    """Return what a site that is not off draws power as; one that drains trains to its round's end."""
    if standing.stage is Stage.JOINING:
        return "join"
    return "capped" if standing.capped else "train"


def _windows(events: Sequence[Event], name: str, end: Seconds) -> list[tuple[Seconds, Seconds]]:
    found: list[tuple[Seconds, Seconds]] = []
    since: Seconds | None = None
    for event in (event for event in events if event.site == name):
        if event.what == "join":
            since = event.t
        elif event.what in ("removed", "failed") and since is not None:
            found.append((since, event.t))
            since = None
    return found if since is None else [*found, (since, end)]
