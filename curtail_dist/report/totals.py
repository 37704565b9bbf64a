"""Totals by which runs are compared in a table: GPU-hours, and the share of the energy drawn in windows."""

import math
from collections.abc import Mapping
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.energy.emissions import SiteEnergy
from curtail_dist.units import hours


def ranks_by_site(directory: Path) -> dict[str, int]:
    """Return how many ranks each site of the run's config.yaml has; empty where there is none."""
    file = directory / "config.yaml"
    if not file.exists():
        return {}
    return {name: site.provisioner.ranks for name, site in RunConfig.from_yaml(file).sites.items()}


def gpu_hours(sites: Mapping[str, SiteEnergy], ranks: Mapping[str, int]) -> float | None:
    """Return the hours that sites were on (in any phase but off), each times its ranks.

    A rank drives one GPU, so these are GPU-hours, held and not only used; where a run has no GPU they are
    hours of ranks. None where the ranks of a site that was on are unknown.
    """
    on = {name: energy.on_s for name, energy in sites.items() if energy.on_s > 0}
    if not on.keys() <= ranks.keys():
        return None
    return math.fsum(hours(on_s) * ranks[name] for name, on_s in on.items())


def share_in_window(sites: Mapping[str, SiteEnergy]) -> float | None:
    """Return the share of the run's energy that was drawn inside of the drawing site's own windows.

    Energy drawn at unknown intensity counts as outside. None where no energy was drawn, or none at a known
    intensity: then there are no windows to speak of.
    """
    total = math.fsum(energy.total_kwh for energy in sites.values())
    known = total - math.fsum(energy.unknown_kwh for energy in sites.values())
    if total <= 0 or known <= 1e-9 * total:
        return None
    return math.fsum(energy.total_kwh * energy.share_in_window for energy in sites.values()) / total
