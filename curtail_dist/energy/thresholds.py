"""The threshold rule over many sites and long series at once, not asked poll by poll.

For sweeps over thresholds and for years of many sites. Equal to the rule itself, which a property test holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curtail_dist.energy.policy import FRESH_TO_RESUME, Threshold
from curtail_dist.units import SECONDS_PER_HOUR, Seconds


@dataclass(frozen=True, kw_only=True)
class OnPolls:
    """When sites are on."""

    on: NDArray[np.bool_]
    """(sites, polls): whether the site is on from this poll to the next."""
    poll_s: Seconds

    @property
    def hours(self) -> NDArray[np.float64]:
        """Hours on, by site."""
        return self.on.sum(axis=1) * (self.poll_s / SECONDS_PER_HOUR)

    def windows(self, site: int) -> list[tuple[Seconds, Seconds]]:
        """Return a site's on-periods [start, stop); the last one ends with the polls."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], self.on[site], [False]]).astype(np.int8)))
        return [
            (float(start) * self.poll_s, float(stop) * self.poll_s)
            for start, stop in zip(edges[::2], edges[1::2], strict=True)
        ]


def threshold_windows(
    values: NDArray[np.float64] | Sequence[Sequence[float]], rule: Threshold, *, poll_s: Seconds
) -> OnPolls:
    """Return when `rule` has sites on.

    Args:
        values: Intensities in g/kWh at each poll, (sites, polls), the first at run time 0; nan is unknown.
        rule: The rule.
        poll_s: Time between two polls.
    """
    seen = np.asarray(values, dtype=np.float64)
    polls = np.arange(seen.shape[1], dtype=np.int32)
    known = ~np.isnan(seen)
    high = seen >= rule.leaves_at
    # Since which poll the intensity has been high without a break; after a drain it counts anew, which
    # changes nothing: the site is off then.
    high_since = polls - _last(~high, polls)
    leaves = high & ((high_since - 1) * poll_s >= rule.leave_delay_s) | ~known
    unknown_since = polls - _last(~known, polls)
    believed = (unknown_since >= FRESH_TO_RESUME) | (_last(~known, polls) < 0)
    starts = (seen < rule.threshold) & believed
    return OnPolls(on=_last(starts, polls) > _last(leaves, polls), poll_s=poll_s)


def _last(happens: NDArray[np.bool_], polls: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the last poll up to each at which something happened; -1 before the first."""
    return np.maximum.accumulate(np.where(happens, polls, np.int32(-1)), axis=1)
