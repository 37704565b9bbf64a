"""How far the whole run is inside a round, as one site estimates it from its own work. Pure."""

from collections.abc import Mapping
from statistics import fmean

from curtail_dist.membership.records import Commit


def tokens_by_now(head: Commit, site: str, *, done: int, members: int) -> int:
    """Return the tokens committed, and an estimate of those of the open round at all sites.

    Every member is taken to train at the rate that head knows of it, inner steps a second x tokens a step. So
    sites of unequal speed estimate alike at the same moment. One of which head knows nothing counts as the
    mean of those it knows.

    Args:
        head: The commit that the round stands on.
        site: Whose estimate it is.
        done: Tokens of its own in this round, at all its ranks.
        members: Sites of the epoch. One that head does not name, or that is lost since, counts as the mean.
    """
    planned = {*head.sites, site}
    speeds = _completed(head.speeds, planned)
    sizes = _completed({one.site: one.tokens / one.steps for one in head.work if one.steps}, planned)
    rates = {one: speeds[one] * sizes[one] for one in planned}
    return head.tokens + round(done * members * fmean(rates.values()) / rates[site])


def _completed(known: Mapping[str, float], sites: set[str]) -> dict[str, float]:
    """Return a value above 0 for each site, the mean of those known where there is none."""
    here = {site: known[site] for site in sorted(sites) if known.get(site, 0) > 0}
    mean = fmean(here.values()) if here else 1.0
    return {site: here.get(site, mean) for site in sorted(sites)}
