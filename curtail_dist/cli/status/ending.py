"""When a run will be complete, as far as that can be told; else why it cannot. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

from curtail_dist.cli.status.words import span
from curtail_dist.config import RunConfig
from curtail_dist.report.live import LiveView
from curtail_dist.report.siteview import SiteView
from curtail_dist.telemetry.events import MEMBER_PHASES
from curtail_dist.units import Seconds, hours


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An estimate, or why there is none."""

    t: Seconds | None
    """Run time at which the last row will be done; None where that cannot be told."""
    reason: str
    """What the estimate rests on, or why there is none; a part of a sentence."""


def ending(config: RunConfig, view: LiveView, *, rows_left: int | None, away: Collection[str] = ()) -> Ending:
    """Estimate from what the sites did so far and the windows that their outlooks show.

    A site is taken to finish rows as fast as in all its time up so far (one that was never up, as the others
    do on average), whenever its policy would have it up. `away` names sites that will not be up all the same.
    """
    if rows_left is None:
        return Ending(t=None, reason="nobody has founded it yet")
    if rows_left <= 0:
        return Ending(t=view.t, reason="all rows are done")
    if not any(site.watts for site in view.sites.values()):
        return Ending(t=None, reason="no events of this run can be read here")
    elsewhere = [name for name in view.rows_by if not _known(view.sites.get(name))]
    if elsewhere:
        return Ending(t=None, reason=f"the events of {', '.join(elsewhere)} are not here")
    speeds = _speeds(view)
    if not speeds:
        return Ending(t=None, reason="the events here tell of no finished round yet")
    there = {name: view.sites[name] for name in view.sites if _known(view.sites[name]) and name not in away}
    without = f", without {', '.join(sorted(away))}" if away else ""
    if not there:
        return Ending(t=None, reason=f"no site will be up{without}")
    paces = {name: speeds.get(name, fmean(speeds.values())) for name in there}
    if config.policy.kind == "always":
        return Ending(t=view.t + rows_left / sum(paces.values()), reason=f"at the pace so far{without}")
    if config.policy.kind == "work-price":
        deadline = f"{hours(view.deadline_s):.1f} h after the start" if view.deadline_s else "the deadline"
        return Ending(t=None, reason=f"the plan spreads the work up to {deadline}")
    if config.policy.kind != "threshold":
        return Ending(t=None, reason=f"when sites are on is for {config.policy.kind} to say")
    return _by_windows(there, paces, view.t, float(rows_left), without)


def _known(site: SiteView | None) -> bool:
    return site is not None and bool(site.watts)


def _speeds(view: LiveView) -> dict[str, float]:
    """Return rows per second of run time that a site was up, of those that finished any."""
    up = {name: site.up_s() for name, site in view.sites.items()}
    return {name: rows / up[name] for name, rows in view.rows_by.items() if rows and up[name] > 0}


def _by_windows(
    sites: Mapping[str, SiteView], paces: Mapping[str, float], t: Seconds, rows_left: float, without: str
) -> Ending:
    blind = [name for name, site in sites.items() if not site.outlook or site.outlook[-1][0] <= t]
    if blind:
        training = sum(paces[name] for name, site in sites.items() if site.phase in MEMBER_PHASES)
        left = f"; {span(rows_left / training)} more if the sites that are up stay so" if training else ""
        return Ending(t=None, reason=f"the outlook of {', '.join(blind)} shows no windows ahead{left}")
    horizon = min(site.outlook[-1][0] for site in sites.values())
    pace, since, changes = 0.0, t, _changes(sites, paces, t, horizon)
    for at, change in changes:
        done = pace * (at - since)
        if done >= rows_left:
            break
        pace, since, rows_left = pace + change, at, rows_left - done
    else:
        ahead = span(horizon - t)
        reason = f"about {rows_left:,.0f} rows are left when the outlook ends, in {ahead}{without}"
        return Ending(t=None, reason=reason)
    return Ending(t=since + rows_left / pace, reason=f"by the windows in the outlook{without}")


def _changes(
    sites: Mapping[str, SiteView], paces: Mapping[str, float], t: Seconds, horizon: Seconds
) -> list[tuple[Seconds, float]]:
    """Return when the pace of all changes, and by how much; the last one is at the horizon."""
    changes = [(horizon, 0.0)]
    for name, site in sites.items():
        for start, stop in site.windows(t):
            until = horizon if stop is None else min(stop, horizon)
            if start < until:
                changes += [(start, paces[name]), (until, -paces[name])]
    return sorted(changes)
