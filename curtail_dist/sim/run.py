"""Plays one schedule to its end, and judges it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from curtail_dist.sim.agent import Agent
from curtail_dist.sim.faults import Faults
from curtail_dist.sim.history import History
from curtail_dist.sim.invariants import violations
from curtail_dist.sim.process import Mutant
from curtail_dist.sim.schedule import draw
from curtail_dist.sim.setting import Setting
from curtail_dist.sim.world import World


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one schedule."""

    setting: Setting
    world: World
    wrong: Sequence[str]
    """Violated invariants, each in a sentence; empty where all held."""

    @property
    def history(self) -> History:
        """What happened."""
        return self.world.history


def simulate(seed: int, mutant: Mutant | None = None) -> Outcome:
    """Draw the schedule of a seed and play it."""
    return play(draw(seed), mutant)


def play(setting: Setting, mutant: Mutant | None = None) -> Outcome:
    """Play one schedule."""
    world = World.of(setting)
    faults = Faults(world)
    agents = {site: Agent(world, site, trap=faults.trap, mutant=mutant) for site in setting.sites}
    for site, agent in agents.items():
        world.kernel.after(setting.starts[site], agent.start)
    faults.begin(agents)

    def over() -> bool:
        return bool(world.history.wrong) or (not world.processes and agents[setting.sites[0]].complete)

    with _silence():
        world.kernel.run(setting.deadline, over)
    return Outcome(setting=setting, world=world, wrong=violations(world))


@contextmanager
def _silence() -> Iterator[None]:
    """Show no log of the protocol: what happened stands in the timeline.

    By `logging.disable`, not by its attribute: each logger remembers what it may show, and only that makes it
    forget.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
