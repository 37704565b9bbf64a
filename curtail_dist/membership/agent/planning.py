"""The work price at a running site: every agent plans for all sites, from what all agents publish.

There is no coordinator. Each agent publishes its site's outlook and, at the same moments of run time, reads
those of all; the same facts give the same plan (`advise` is pure), of which it follows its own site's part.
Agents look at moments that differ by a poll at most, so now and then two of them plan from outlooks of which
one is a plan older: then a site is on for a plan's length that is not needed, or the other way round, and the
next plan, which knows what was done, makes up for it. An outlook lives on its agent's lease.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median

from curtail_dist.config import PolicyConfig, RunConfig
from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.policy import Advice, Wanted
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import Stage, Standing
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import MembershipError
from curtail_dist.membership.agent.foreseeing import Forecast, Foreseer
from curtail_dist.membership.agent.outlook import Outlook
from curtail_dist.membership.agent.progress import RunProgress
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Planned
from curtail_dist.telemetry.record import EventLog
from curtail_dist.units import SECONDS_PER_HOUR, Seconds

log = logging.getLogger(__name__)

STALE_PLANS = 2
"""Age of an outlook, in `policy.replan_s`, beyond which it is left out: its agent does not plan any more."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """How this site stands when it plans."""

    standing: Standing
    reading: Reading | None
    barred: bool
    """Whether an operator keeps it from starting."""


class Plans:
    """One agent's plans. `look` is called at each poll; nothing here waits, or calls the store."""

    def __init__(
        self,
        config: RunConfig,
        site: str,
        *,
        publish: Callable[[bytes], None],
        events: EventLog,
        forecast: Forecast | None = None,
        past: StepFunction | None = None,
        price: StepFunction | None = None,
    ) -> None:
        """Plan for `site`.

        Args:
            config: The run file.
            site: This site.
            publish: Has an outlook written to the store.
            events: Where plans go on record.
            forecast: What a provider expects; None: futures are made of what was.
            past: The site's intensity from before the run, where it is known.
            price: The price of its electricity per kWh, where it is known.
        """
        own = config.site(site)
        self._config = config
        self._site = site
        self._deadline_s = config.run.deadline_h * SECONDS_PER_HOUR
        self._publish = publish
        self._events = events
        power = PowerModel.from_config(own.power, pue=own.footprint.pue)
        self._power = replace(power, capped_w=None, capped_speed=1.0)  # nothing here could set a cap
        self._foreseer = Foreseer(config, site, forecast=forecast, past=past, price=price)
        self._joins: list[Seconds] = []
        self._progress = RunProgress()
        self._next: Seconds | None = None
        self._advice: tuple[Seconds, Advice] | None = None
        self._was = Standing()

    def look(self, now: Seconds, view: View, own: Own) -> Wanted | None:
        """Take note of the run, publish and plan where it is time, and say what is wanted of this site.

        None while there is no plan: before the first one, and where the newest is too old.
        """
        self._progress.note(view.head, now)
        self._note(now, own)
        replan_s = self._config.policy.replan_s
        if self._next is None or now >= self._next:
            self._next = (now // replan_s + 1) * replan_s
            self._plan(now, view, own)
        elif own.standing.stage is not self._was.stage:
            self._publish(self._outlook(now, own).encode())
        self._was = own.standing
        if self._advice is None or now - self._advice[0] > STALE_PLANS * replan_s:
            return None
        return self._advice[1].wanted.get(self._site)

    def _note(self, now: Seconds, own: Own) -> None:
        """Remember what was read, and how long a join took."""
        self._foreseer.note(now, own.reading)
        was = self._was
        if was.stage is Stage.JOINING and own.standing.stage is Stage.ON:
            self._joins.append(own.standing.since - was.since)

    def _plan(self, now: Seconds, view: View, own: Own) -> None:
        mine = self._outlook(now, own)
        self._publish(mine.encode())
        outlooks = {**read_outlooks(view, now=now, policy=self._config.policy), self._site: mine}
        efficiency = self._progress.efficiency or _expected_efficiency(self._config)
        left_s = self._progress.left_s()
        work_s = _expected_work_s(self._config) if left_s is None else left_s
        advice = plan(
            self._config.policy,
            outlooks,
            now=now,
            deadline_s=self._deadline_s,
            work_s=work_s,
            efficiency=efficiency,
        )
        self._advice = now, advice
        late = math.isinf(advice.price)
        self._events.emit(
            Planned(
                price_g_per_s=None if late else advice.price,
                wanted=dict(advice.wanted),
                work_s=work_s,
                efficiency=efficiency,
            )
        )

    def _outlook(self, now: Seconds, own: Own) -> Outlook:
        from curtail_dist.energy.planner import aim  # numpy: only where plans are made

        standing, join_s = own.standing, self._join_s
        until = aim(self._config.policy, self._deadline_s, now=now)
        joining = standing.stage is Stage.JOINING
        return Outlook(
            made_at=now,
            futures=()
            if own.reading is None or own.barred
            else self._foreseer.futures(now, until, own.reading),
            power=self._power,
            runs=standing.runs,
            joins_s=max(0.0, join_s - (now - standing.since)) if joining else 0.0,
            join_s=join_s,
        )

    @property
    def _join_s(self) -> Seconds:
        return median(self._joins) if self._joins else self._config.clock.join_s


def read_outlooks(view: View, *, now: Seconds, policy: PolicyConfig) -> dict[str, Outlook]:
    """Return what the sites' agents have published of late; what cannot be read is left out."""
    prefix, found = view.keys.outlooks, dict[str, Outlook]()
    for key, entry in view.entries.items():
        if not key.startswith(prefix):
            continue
        try:
            outlook = Outlook.decode(entry.value)
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
    site is wanted.
    """
    from curtail_dist.energy.planner import aim, cautious
    from curtail_dist.energy.workprice import Prospect, Question, advise

    able = {name: one for name, one in sorted(outlooks.items()) if one.futures}
    if not able:
        return Advice(price=0.0, wanted={})
    if now >= deadline_s:
        return Advice(price=math.inf, wanted=dict.fromkeys(able, "on"))
    count = min(len(one.futures) for one in able.values())
    until = aim(policy, deadline_s, now=now)
    question = Question(
        now=now,
        deadline_s=until,
        work_s=work_s,
        sites={
            name: Prospect(
                futures=tuple(_from(future, now, until) for future in one.futures[:count]),
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
    hours = config.run.deadline_h if config.policy.work_h is None else config.policy.work_h
    return hours * SECONDS_PER_HOUR


def _expected_efficiency(config: RunConfig) -> float:
    given, clock = config.policy.pair_efficiency, config.clock
    if given is not None:
        return given
    train_s = config.round.steps * clock.step_s
    return train_s / (train_s + clock.sync_s) if train_s > 0 else 1.0
