"""The fault matrix: each scenario with what it must hold, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nursery import Nursery

from faults import dark, hangs, joining, kills, leaving, outages, parking, ranks, speeds
from faults.lab import TTL_S

Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One fault, played with real processes; the play itself fails where anything was lost."""

    play: Callable[..., Facts]
    """`play(nursery, folder, seed=...)` returns what was measured."""
    once: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments where it is played once, as a test, which is to be short."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """The most that a figure may be."""
    typical: Mapping[str, float] = field(default_factory=dict)
    """The most that the median over the runs may be."""


MATRIX: Mapping[str, Scenario] = {
    "kill_between_syncs": Scenario(play=kills.between_syncs, bounds={"beyond_s": 2.0}),
    "kill_inside_exchange": Scenario(
        play=kills.inside_exchange, once={"baseline": 2}, bounds={"beyond_s": 2.0}
    ),
    "freeze_inside_exchange": Scenario(
        play=hangs.inside_exchange, once={"baseline": 2}, bounds={"beyond_s": TTL_S + 2.0}
    ),
    "etcd_comes_back": Scenario(
        play=outages.comes_back, once={"away_s": 8.0}, bounds={"back_to_commit_s": 10.0}
    ),
    "etcd_stays_away": Scenario(play=outages.stays_away, bounds={"kill_to_exit_s": 6.0 + 10.0}),
    "everything_durable": Scenario(play=partial(dark.everything, durable=True), once={"kills": 5}),
    "everything": Scenario(play=partial(dark.everything, durable=False), once={"kills": 4}),
    "joins": Scenario(
        play=joining.repeatedly, once={"joins": 5}, typical={"extra_s": 0.3, "extra_after_s": 0.3}
    ),
    "speeds": Scenario(play=speeds.two_to_one, once={"rounds": 5}, bounds={"fast_idle_share": 0.05}),
    "parked": Scenario(play=parking.repeatedly, once={"stays": 3}, bounds={"back_worst_s": 1.0}),
    "ranks": Scenario(play=ranks.equal_weights, once={"rounds": 3}, bounds={"weights_off_by": 1e-3}),
    "ranks_overlapped": Scenario(play=ranks.overlapped),
    "rank_killed": Scenario(play=ranks.rank_killed, bounds={"kill_to_commit_s": TTL_S + 2.0}),
    "drain": Scenario(play=leaving.drained, bounds={"beyond_s": 1.0}),
    "second_sigterm": Scenario(play=leaving.told_twice, bounds={"second_sigterm_to_end_s": 2.0}),
}


def over_bounds(scenario: Scenario, facts: Facts, *, slack: float = 1.0) -> dict[str, float]:
    """Figures that are over their bound times `slack`."""
    limits = {**scenario.typical, **scenario.bounds}
    return {name: facts[name] for name, limit in limits.items() if facts[name] > limit * slack}


def play(name: str, nursery: Nursery, folder: Path, *, seed: int, once: bool) -> Facts:
    """Play a scenario of the matrix in a new folder."""
    folder.mkdir(parents=True)
    scenario = MATRIX[name]
    return scenario.play(nursery, folder, seed=seed, **(scenario.once if once else {}))
