"""A policy's day on traces known in advance, reckoned beside its baselines and the offline optimum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from curtail_dist.config import PolicyConfig, RunConfig
from curtail_dist.energy.baselines import Baseline, all_baselines, always_on, reference_kg
from curtail_dist.energy.course import Course, Played
from curtail_dist.energy.emissions import DRAWN, Grid, PowerModel, SiteEnergy, account
from curtail_dist.energy.feeds import Feeds
from curtail_dist.energy.freshness import FORESEEN_S
from curtail_dist.energy.oracle import Optimum, optimum
from curtail_dist.energy.planner import Planner
from curtail_dist.energy.policy import Advice, build_policy
from curtail_dist.energy.prices import cost_of
from curtail_dist.energy.rehearsal import Event, Manner, Player, Rehearsal, Rehearsed
from curtail_dist.energy.saving import Saving
from curtail_dist.energy.scene import Assumptions, Scene, series_of
from curtail_dist.energy.windows import check_threshold_opens
from curtail_dist.errors import TraceError
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A simulated run and what it is compared with."""

    scene: Scene
    windows: Mapping[str, Sequence[tuple[Seconds, Seconds]]]
    """On-periods, from the decision to start until the ranks are gone."""
    events: Sequence[Event]
    """Each decision, with the reading it rests on."""
    played: Played
    energy: Mapping[str, SiteEnergy]
    baselines: Mapping[str, Baseline]
    missing: Mapping[str, str]
    """Why a baseline is missing."""
    oracle: Optimum | None
    """At the same pair efficiency as the run and its baselines, `scene.rhythm.efficiency`."""
    saving: Saving | None
    """Against the mean always-on site and the bound; None where one of them is missing."""
    costs: Mapping[str, float]
    """What the electricity of a site cost, in the currency of its price, where that is known throughout."""
    unknown_costs: Mapping[str, str]
    """Why the cost of a site is not known, where some site has a price."""

    @property
    def emissions_kg(self) -> float:
        """The run's emissions, all sites."""
        return sum(site.emissions_kg for site in self.energy.values())

    @property
    def by_cause_kg(self) -> Mapping[str, float]:
        """The run's emissions by phase; `leave_delay` is the part of them at or above the threshold."""
        sites = self.energy.values()
        causes = {name: sum(site.by_phase_kg[name] for site in sites) for name in DRAWN}
        return {**causes, "leave_delay": sum(site.leave_delay_kg for site in sites)}


def simulate(config: RunConfig, assumptions: Assumptions | None = None) -> Simulation:
    """Play the policy over each site's trace for the planned period.

    Args:
        config: The run. `clock.join_s` is what a start takes; `round.steps`, `clock.step_s` and
            `clock.sync_s` give the rhythm of shared rounds, or `policy.pair_efficiency` does. Without
            run.start the run starts when all traces have.
        assumptions: What else is taken for given.

    Raises:
        ConfigError: The threshold opens no window, or a value is wrong.
        TraceError: A trace cannot be read, or knows nothing of the planned period.
    """
    scene = Scene.of(config, assumptions or Assumptions())
    known = {name: grid.intensity for name, grid in scene.greenest.items()}
    check_threshold_opens(config.policy, known, scene.deadline_s)
    rehearsed = rehearse(scene, config.policy, deadline_s=scene.deadline_s)
    played, energy = rehearsed.played, energy_of(scene, rehearsed.played)
    baselines, missing = _baselines(scene, played.work_s)
    reference = reference_kg({name: found for name, found in baselines.items() if name in scene.grids})
    bound = best(scene, work_s=played.work_s, deadline_s=scene.deadline_s)
    emitted = sum(site.emissions_kg for site in energy.values())
    costs, unknown_costs = _costs(scene, played)
    return Simulation(
        scene=scene,
        windows=rehearsed.windows,
        events=rehearsed.events,
        played=played,
        energy=energy,
        baselines=baselines,
        missing=missing,
        oracle=bound,
        saving=None
        if reference is None or bound is None
        else Saving(
            reference_kg=reference, run_kg=emitted, bound_kg=bound.emissions_kg, work_s=played.work_s
        ),
        costs=costs,
        unknown_costs=unknown_costs,
    )


def rehearse(scene: Scene, policy: PolicyConfig, *, deadline_s: Seconds) -> Rehearsed:
    """Play a policy on a scene until `deadline_s`, by which a work price is to have the work done."""
    given, rhythm = scene.given, scene.rhythm
    perfect = given.forecast == "perfect"
    feeds = Feeds(
        grids=scene.grids,
        outage=given.outage,
        max_age_s=policy.max_age_s,
        foreseen_s=FORESEEN_S if perfect else 0.0,
        lived=scene.lived(),
    )

    def plan(now: Seconds, course: Course, sites: Mapping[str, Player]) -> Advice:
        return Planner(
            feeds.planned(now, deadline_s, perfect=perfect),
            policy=policy,
            deadline_s=deadline_s,
            rhythm=rhythm,
            perfect=perfect,
            histories=scene.histories,
            prices=scene.prices,
        ).plan(now, course, sites)

    return Rehearsal(
        dict.fromkeys(scene.grids, build_policy(policy)),
        read=feeds.read,
        enter=feeds.enter,
        manner=Manner(
            poll_s=policy.poll_s,
            rhythm=rhythm,
            start_s=scene.start.timestamp(),
            drains_s=given.drains_s,
            blocking=given.blocking,
            provisioning=given.provisioning,
            speeds={name: grid.power.capped_speed for name, grid in scene.grids.items()},
        ),
        work_s=scene.asked_s,
        plan=plan if policy.kind == "work-price" else None,
        replan_s=policy.replan_s,
    ).play(deadline_s)


def energy_of(scene: Scene, played: Played) -> dict[str, SiteEnergy]:
    """Account for what each site did, by the intensity that came with it."""
    config, found = scene.config, dict[str, SiteEnergy]()
    for name, grid in scene.as_done(played.intervals).items():
        average = config.sites[name].average
        found[name] = account(
            played.intervals[name],
            grid.power,
            grid.intensity,
            threshold=config.policy.threshold_g_per_kwh,
            average=None
            if average is None
            else series_of(average, scene.start, name, scene.deadline_s).series,
        )
    return found


def best(scene: Scene, *, work_s: Seconds, deadline_s: Seconds) -> Optimum | None:
    """Return the offline optimum on a scene, at the efficiency of its pairs.

    Where an intensity depends on what sites do each moment is taken as green as it can be, whatever they did
    before: a bound, which no schedule may reach.
    """
    rhythm = scene.rhythm
    found = optimum(
        scene.greenest,
        work_s=work_s,
        deadline_s=deadline_s,
        join_s=rhythm.join_s,
        pair_efficiency=rhythm.efficiency,
    )
    return found and replace(found, exact=found.exact and not scene.swayed)


def _baselines(scene: Scene, work_s: Seconds) -> tuple[dict[str, Baseline], dict[str, str]]:
    """Reckon the sites, their pairs, and the run file's further grids, which get a site of mean power."""
    threshold = scene.config.policy.threshold_g_per_kwh
    baselines, missing = all_baselines(
        scene.grids, work_s, pair_efficiency=scene.rhythm.efficiency, threshold=threshold
    )
    power = PowerModel.mean([grid.power for grid in scene.grids.values()])
    for name, signal in scene.config.baselines.items():
        try:
            known = series_of(signal, scene.start, name, work_s)
            grid = Grid(intensity=known.series, power=power)
            baselines[name] = always_on(name, grid, work_s, threshold=threshold)
        except TraceError as error:
            missing[name] = str(error)
    return baselines, missing


def _costs(scene: Scene, played: Played) -> tuple[dict[str, float], dict[str, str]]:
    """Reckon what each site's electricity cost, and why that is not known where it is not.

    Without a price at any site nothing is reckoned.
    """
    costs: dict[str, float] = {}
    unknown: dict[str, str] = {}
    policy = scene.config.policy
    weighed = policy.kind == "work-price" and policy.g_per_currency > 0
    planned = "; plans took the nearest price that is known" if weighed else ""
    for name in played.intervals if scene.prices else ():
        price = scene.prices.get(name)
        if price is None:
            unknown[name] = f"sites.{name}.price is not given"
            continue
        try:
            costs[name] = cost_of(played.intervals[name], scene.grids[name].power, price)
        except TraceError as error:
            unknown[name] = f"{error}{planned}"
    return costs, unknown
