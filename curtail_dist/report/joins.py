"""Where the real time of joins went, by cause."""

from collections.abc import Mapping, Sequence
from statistics import median

from curtail_dist.telemetry.joining import CAUSES
from curtail_dist.units import Seconds


def by_cause(joins: Sequence[Mapping[str, Seconds]]) -> dict[str, Seconds]:
    """Return the median of each cause over the joins that know it; causes that none knows are left out."""
    known = {cause: [join[cause] for join in joins if cause in join] for cause in CAUSES}
    return {cause: median(seconds) for cause, seconds in known.items() if seconds}


def cause_text(causes: Mapping[str, Seconds]) -> str:
    """Return the sum and its parts in words: `7.5 s (provision 2.1 s, import 5.4 s)`."""
    parts = ", ".join(f"{cause} {seconds:.1f} s" for cause, seconds in causes.items())
    return f"{sum(causes.values()):.1f} s ({parts})"
