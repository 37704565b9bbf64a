"""The work price at a running site: every agent plans for all sites, from what all agents publish.

There is no coordinator. Each agent publishes its site's outlook and, at the same moments (`next_plan`), reads
those of all; the same facts give the same plan (`advise` is pure), of which it follows its own site's part.
Agents look at moments that differ by a poll at most, so now and then two of them plan from outlooks of which
one is a plan older: then a site is on for a plan's length that is not needed, or the other way round, and the
next plan, which knows what was done, makes up for it.

An outlook lives on its agent's lease: who dies is soon planned without. But a store that is silent says
nothing of the others, so no one plans alone: a plan is made once the store has shown what this agent itself
published for the plan before.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

from curtail_dist.config import PolicyConfig, RunConfig
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.policy import Advice, Wanted, next_plan
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import Stage, Standing
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import MembershipError
from curtail_dist.membership.agent.foreseeing import Foreseer
from curtail_dist.membership.agent.outlook import Outlook
from curtail_dist.membership.agent.progress import RunProgress
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Planned
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, Seconds

log = logging.getLogger(__name__)
_decoded = lru_cache(maxsize=256)(Outlook.decode)

STALE_PLANS = 2
"""Age of an outlook, in `policy.replan_s`, beyond which it is left out: its agent does not plan any more."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """How this site stands when it plans."""

    standing: Standing
    reading: Reading | None
    barred: bool
    """Whether an operator keeps it from starting."""
    waited_s: Seconds = 0.0
    """How long the ranks of its newest start have waited for machines: they drew nothing, and it is no part
    of what a start takes."""


class Plans:
    """One agent's plans. `look` is called at each poll; nothing here waits, or calls the store."""

    def __init__(
        self,
        config: RunConfig,
        site: str,
        *,
        publish: Callable[[bytes], None],
        events: EventLog,
        foreseer: Foreseer,
        start_s: Seconds = 0.0,
    ) -> None:
        """Plan for `site`.

        Args:
            config: The run file.
            site: This site.
            publish: Has an outlook written to the store.
            events: Where plans go on record.
            foreseer: Makes the futures of this site.
            start_s: Run time 0 in Unix time, the same for every site.
        """
        own = config.site(site)
        self._config = config
        self._site = site
        self._deadline_s = config.run.deadline_h * SECONDS_PER_HOUR
        self._start_s = start_s
        self._publish = publish
        self._events = events
        power = PowerModel.from_config(own.power, pue=own.footprint.pue)
        self._power = replace(power, capped_w=None, capped_speed=1.0)  # nothing here could set a cap
        self._foreseer = foreseer
        self._joins: list[Seconds] = []
        self._progress = RunProgress(poll_s=config.policy.poll_s)
        self._next: Seconds = -math.inf
        """When the next plan is due."""
        self._due = False
        self._made: Seconds | None = None
        """When the newest outlook was made."""
        self._shown_since: Seconds = math.inf
        """The store must show an outlook of this site as new as this before a plan is made."""
        self._sites: set[str] = set()
        """Those that the newest plan counted on."""
        self._advice: tuple[Seconds, Advice] | None = None
        self._was: Own | None = None

    def look(self, now: Seconds, view: View, own: Own) -> Wanted | None:
        """Take note of the run, publish and plan where it is time, and say what is wanted of this site.

        None while there is no plan: before the first one, and where the newest is too old.
        """
        self._progress.note(view.head, now)
        self._note(now, own)
        self._tell(now, own)
        outlooks = read_outlooks(view, now=now, policy=self._config.policy)
        if self._due or set(outlooks) != self._sites:
            self._plan(now, own, outlooks)
        self._was = own
        replan_s = self._config.policy.replan_s
        if self._advice is None or now - self._advice[0] > STALE_PLANS * replan_s:
            return None
        return self._advice[1].wanted.get(self._site)

    def _note(self, now: Seconds, own: Own) -> None:
        """Remember what was read, and how long a join took."""
        self._foreseer.note(now, own.reading)
        was = Standing() if self._was is None else self._was.standing
        if was.stage is Stage.JOINING and own.standing.stage is Stage.ON and not was.recalled:
            self._joins.append(own.standing.since - was.since - own.waited_s)

    def _tell(self, now: Seconds, own: Own) -> None:
        """Publish where a plan is due, or where the site has come to stand otherwise."""
        if now >= self._next:
            self._next = next_plan(now, every_s=self._config.policy.replan_s, start_s=self._start_s)
            self._due = True
            self._shown_since = now if self._made is None else self._made
        elif self._was is not None and _sort(own) == _sort(self._was):
            return
        self._publish(self._outlook(now, own).encode())
        self._made = now

    def _plan(self, now: Seconds, own: Own, outlooks: Mapping[str, Outlook]) -> None:
        """Plan, unless the store has not shown yet what is to be seen of this site."""
        mine = outlooks.get(self._site)
        if mine is None or mine.made_at < self._shown_since:
            return
        left_s = self._progress.left_s()
        work_s = _expected_work_s(self._config) if left_s is None else left_s
        outlooks = {**outlooks, self._site: self._outlook(now, own)}
        efficiency = _efficiency(outlooks, expected=_expected_efficiency(self._config))
        advice = plan(
            self._config.policy,
            outlooks,
            now=now,
            deadline_s=self._deadline_s,
            work_s=work_s,
            efficiency=efficiency,
        )
        self._due, self._sites, self._advice = False, set(outlooks), (now, advice)
        self._events.emit(
            Planned(
                price_g_per_s=None if math.isinf(advice.price) else advice.price,
                wanted=dict(advice.wanted),
                work_s=work_s,
                efficiency=efficiency,
            )
        )

    def _outlook(self, now: Seconds, own: Own) -> Outlook:
        from curtail_dist.energy.planner import aim  # numpy: only where plans are made

        standing, reading, join_s = own.standing, own.reading, self._join_s
        until = aim(self._config.policy, self._deadline_s, now=now)
        joining = standing.stage is Stage.JOINING
        return Outlook(
            made_at=now,
            futures=() if reading is None or not _able(own) else self._foreseer.futures(now, until, reading),
            power=self._power,
            runs=standing.runs,
            joins_s=max(0.0, join_s - (now - standing.since - own.waited_s)) if joining else 0.0,
            join_s=join_s,
            efficiency=self._progress.efficiency,
        )

    @property
    def _join_s(self) -> Seconds:
        return median(self._joins) if self._joins else self._config.clock.join_s


def _able(own: Own) -> bool:
    """Whether a plan can have the site on: one that is held may stay on as long as it is."""
    return own.reading is not None and (not own.barred or own.standing.runs)


def _sort(own: Own) -> tuple[Stage, bool]:
    """Return what others are told of at once where it changes."""
    return own.standing.stage, _able(own)


def read_outlooks(view: View, *, now: Seconds, policy: PolicyConfig) -> dict[str, Outlook]:
    """Return what the sites' agents have published of late; what cannot be read is left out."""
    prefix, found = view.keys.outlooks, dict[str, Outlook]()
    for key, entry in view.entries.items():
        if not key.startswith(prefix):
            continue
        try:
            outlook = _decoded(entry.value)
        except (MembershipError, ValueError, KeyError, TypeError) as error:
            log.warning("the outlook %s is left out: %s", key, error)
            continue
        if now - outlook.made_at <= STALE_PLANS * policy.replan_s:
            found[key.removeprefix(prefix)] = outlook
    return found


def plan(
    policy: PolicyConfig,
    outlooks: Mapping[str, Outlook],
    *,
    now: Seconds,
    deadline_s: Seconds,
    work_s: Seconds,
    efficiency: float,
) -> Advice:
    """Plan for all sites that can take part. Pure: the same outlooks give the same advice.

    Of the others, which are held or do not know their intensity, nothing is said. After the deadline every
    site is wanted. A site that has a single future is planned for by it beside each future of the others.
    """
    from curtail_dist.energy.planner import aim, cautious
    from curtail_dist.energy.workprice import Prospect, Question, advise

    able = {name: one for name, one in sorted(outlooks.items()) if one.futures}
    if not able:
        return Advice(price=0.0, wanted={})
    if now >= deadline_s:
        return Advice(price=math.inf, wanted=dict.fromkeys(able, "late"))
    count = min((len(one.futures) for one in able.values() if len(one.futures) > 1), default=1)
    until = aim(policy, deadline_s, now=now)
    question = Question(
        now=now,
        deadline_s=until,
        work_s=work_s,
        sites={
            name: Prospect(
                futures=tuple(_from(future, now, until) for future in _as_many(one.futures, count)),
                power=one.power,
                on=one.runs,
                joins_s=max(0.0, one.joins_s - (now - one.made_at)),
            )
            for name, one in able.items()
        },
        join_s=max(one.join_s for one in able.values()),
        pair_efficiency=efficiency,
        slot_s=policy.replan_s,
    )
    return advise(cautious(question, policy))


def _as_many(futures: tuple[StepFunction, ...], count: int) -> tuple[StepFunction, ...]:
    return futures * count if len(futures) == 1 else futures[:count]


def _from(future: StepFunction, now: Seconds, until: Seconds) -> StepFunction:
    """Return a future from now to the end of the plan: its first and last values hold beyond what it says."""
    known = future.clipped(now, until)
    if known is None:
        return StepFunction(edges=(now, until), values=(future.values[-1],))
    edges, values = list(known.edges), list(known.values)
    edges[0] = now
    if edges[-1] < until:
        edges[-1] = until
    return StepFunction(edges=tuple(edges), values=tuple(values))


def _expected_work_s(config: RunConfig) -> Seconds:
    """Return what the run takes as expected before it has measured, in site-seconds of training."""
    return config.work_h * SECONDS_PER_HOUR


def _efficiency(outlooks: Mapping[str, Outlook], *, expected: float) -> float:
    """Return what a pair is worth as all agents take it: the median of what they have measured."""
    measured = [one.efficiency for one in outlooks.values() if one.efficiency is not None]
    return median(measured) if measured else expected


def _expected_efficiency(config: RunConfig) -> float:
    given, clock = config.policy.pair_efficiency, config.clock
    if given is not None:
        return given
    train_s = config.round.steps * clock.step_s
    return train_s / (train_s + clock.sync_s) if train_s > 0 else 1.0
