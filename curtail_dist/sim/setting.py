"""One schedule: the run that is simulated, and the faults that meet it. A pure value, drawn from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass

from curtail_dist.membership.keys import Keys
from curtail_dist.membership.part import Rules
from curtail_dist.sim.state import Corpus
from curtail_dist.units import Seconds

KEYS = Keys("sim")
"""Where the simulated run's facts stand."""

OPERATOR = "operator"
"""Who recovers a run that the store has forgotten."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Kinds: `kill`, `kill_all`, `hang`, `hang_life`, `supersede`, `term`, `drain`, `drain_all`, `cut` (two
    sites), `cut_store` (a site), `mute` (one answer of the store to a site is lost), `outage`, `forget` (the
    store loses all data, and every process ends), `disk`, `rot`.
    """

    kind: str
    at: Seconds
    """From when on it strikes; at once, unless `effect` is given."""
    site: str = ""
    other: str = ""
    lasts: Seconds = 0.0
    """Until it is over; of a kill: until the site's process is started anew; of `forget`: until an operator
    recovers the run."""
    effect: str = ""
    """Name of the effect of the site's life at which it strikes; empty: at the time."""
    phase: str = "before"
    """`before` the effect is carried out, `during` it, or `after` it, when its result is there."""
    nth: int = 1
    """Which effect of this name, counted from `at` on."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one schedule plays."""

    seed: int
    rules: Rules
    corpus: Corpus
    step_s: Mapping[str, Seconds]
    """Time of an inner step, by site, in rank order."""
    step_tokens: int
    starts: Mapping[str, Seconds]
    """When each site's agent first starts a process."""
    url: Mapping[str, str]
    """Where each site keeps and looks for snapshots."""
    keep: int = 3
    """Versions whose snapshots are kept."""
    write_s: Seconds = 0.3
    """Greatest time that a snapshot takes to write."""
    bulk_s: Seconds = 0.3
    """Greatest time that a payload takes."""
    lag_s: Seconds = 0.02
    """Greatest delay of what watchers are told."""
    loss: float = 0.0
    """Share of store calls without an answer, before the calm."""
    slow: float = 0.0
    """Share of store calls that are late, before the calm."""
    odd: float = 0.0
    """Share of the rounds whose pseudo-gradient is not finite, before the calm."""
    faults: tuple[Fault, ...] = ()
    calm_at: Seconds = 60.0
    """When all faults are over."""
    deadline: Seconds = 400.0
    """When the run must be complete."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names, in rank order."""
        return tuple(self.step_s)

    @property
    def shared(self) -> bool:
        """Whether all sites see the same snapshots."""
        return len(set(self.url.values())) == 1
