"""Puts together what a work price plans by: where sites stand, and the futures of their grids."""

from collections.abc import Mapping
from dataclasses import replace

from curtail_dist.config import PolicyConfig
from curtail_dist.energy.course import Course, Rhythm
from curtail_dist.energy.emissions import Grid
from curtail_dist.energy.futures import Foresight
from curtail_dist.energy.policy import Advice
from curtail_dist.energy.prices import weighed
from curtail_dist.energy.rehearsal import Player
from curtail_dist.energy.stages import Stage
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.workprice import Prospect, Question, advise
from curtail_dist.units import Seconds

SPARE_PLANS = 2
"""By how many times `policy.replan_s` a plan is to be done before the deadline, for what no plan foresees."""


def aim(policy: PolicyConfig, deadline_s: Seconds, *, now: Seconds, perfect: bool = False) -> Seconds:
    """Return the run time by which a plan is to have the work done, some plans before the deadline."""
    spare_s = 0.0 if perfect else SPARE_PLANS * policy.replan_s
    return max(deadline_s - spare_s, now + policy.replan_s)


def cautious(question: Question, policy: PolicyConfig) -> Question:
    """Return a question with what the policy keeps in reserve where the future is not known."""
    return replace(question, work_s=question.work_s * (1 + policy.reserve), change_s=policy.commitment_s)


class Planner:
    """Plans for the sites of a simulated run. Keeps nothing from plan to plan."""

    def __init__(
        self,
        grids: Mapping[str, Grid],
        *,
        policy: PolicyConfig,
        deadline_s: Seconds,
        rhythm: Rhythm,
        perfect: bool,
        histories: Mapping[str, StepFunction],
        prices: Mapping[str, StepFunction] | None = None,
    ) -> None:
        """Prepare.

        Args:
            grids: The truth, of which a plan sees what was and, with a perfect forecast, what will be.
            policy: `replan_s`, `commitment_s`, `reserve`.
            deadline_s: Run time by which the work is to be done.
            rhythm: What a start takes, and the efficiency of a pair.
            perfect: Whether the day is known: then it is planned to the end, and nothing kept in reserve.
            histories: Series from before run time 0 on, of sites that are planned for by them. For the others
                it is taken that what is now goes on.
            prices: Of electricity, per kWh, of sites where it is known; they weigh `policy.g_per_currency`.
        """
        self._prices = prices or {}
        self._grids = grids
        self._policy = policy
        self._deadline_s = deadline_s
        self._rhythm = rhythm
        self._perfect = perfect
        self._histories = histories
        self._foresight = Foresight(step_s=policy.replan_s)

    def plan(self, now: Seconds, course: Course, sites: Mapping[str, Player]) -> Advice:
        """Return what the plan at run time `now` wants of each site."""
        policy = self._policy
        until = aim(policy, self._deadline_s, now=now, perfect=self._perfect)
        futures = self._futures(now, until)
        question = Question(
            now=now,
            deadline_s=until,
            work_s=course.left_s,
            sites={
                name: Prospect(
                    futures=tuple(self._weighed(name, future) for future in futures[name]),
                    power=self._grids[name].power,
                    on=site.standing.runs,
                    joins_s=max(0.0, site.until - now) if site.standing.stage is Stage.JOINING else 0.0,
                )
                for name, site in sites.items()
                if name in futures
            },
            join_s=self._rhythm.join_s,
            pair_efficiency=self._rhythm.efficiency,
            slot_s=policy.replan_s,
        )
        return advise(question if self._perfect else cautious(question, policy))

    def _futures(self, now: Seconds, until: Seconds) -> dict[str, tuple[StepFunction, ...]]:
        known = {name: grid for name, grid in self._grids.items() if grid.intensity.covers(now, now)}
        if self._perfect:
            return {name: (grid.intensity,) for name, grid in known.items()}
        past = {name: self._past(name, now) for name in known}
        count = min((self._foresight.count(series, now) for series in past.values()), default=1)
        return {
            name: self._foresight.of(
                now=now, until=until, reading=grid.intensity.at(now), history=past[name], count=count
            )
            for name, grid in known.items()
        }

    def _weighed(self, name: str, future: StepFunction) -> StepFunction:
        return weighed(future, self._prices.get(name), self._policy.g_per_currency)

    def _past(self, name: str, now: Seconds) -> StepFunction | None:
        series = self._histories.get(name)
        return None if series is None or now <= series.start else series.clipped(series.start, now)
