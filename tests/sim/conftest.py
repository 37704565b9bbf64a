from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from curtail_dist.errors import CurtailError
from curtail_dist.membership.effects import Effect
from curtail_dist.membership.part import Rules
from curtail_dist.sim.chain import Chain
from curtail_dist.sim.history import Happening
from curtail_dist.sim.run import Outcome, play
from curtail_dist.sim.setting import Fault, Setting
from curtail_dist.sim.state import Corpus

RULES = Rules(
    total_rows=300,
    identity={"model": "a"},
    round_steps=4,
    ttl_s=3.0,
    grace_s=1.5,
    patience_s=10.0,
    outage_s=12.0,
)


@dataclass
class Played:
    """One hand-written schedule, and what each life asked for in it."""

    outcome: Outcome
    asked: list[tuple[str, Effect, object]] = field(default_factory=list)
    """(process, effect, result or error)"""

    @property
    def chain(self) -> Chain:
        return Chain.of(self.outcome.history)

    def of(self, *kinds: str) -> list[Happening]:
        return list(self.outcome.history.of(*kinds))

    def who(self, kind: str) -> list[str]:
        return [one.who for one in self.of(kind)]

    def ended(self, who: str) -> str:
        return next(str(one.what).split(":")[0] for one in self.of("ended") if one.who == who)

    def epochs(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (seated.epoch.reason, tuple(f"{one.site}/{one.incarnation}" for one in seated.epoch.members))
            for seated in self.chain.epochs
        ]

    def lost(self, who: str) -> int:
        return sum(one.what.number for one in self.of("lost") if one.who == who)


Play = Callable[..., Played]


@pytest.fixture
def case() -> Play:
    """Play a schedule of some sites with these faults, and check all invariants."""

    def run(
        sites: int = 2, faults: tuple[Fault, ...] = (), rules: dict | None = None, **changes: object
    ) -> Played:
        names = ("ada", "bea", "cyd", "dan")[:sites]
        setting = Setting(
            seed=1,
            rules=replace(RULES, **(rules or {})),
            corpus=Corpus(rows=RULES.total_rows, longest=5, salt=1),
            step_s=dict.fromkeys(names, 0.3),
            step_tokens=4,
            starts=dict.fromkeys(names, 0.0),
            url=dict.fromkeys(names, "all"),
            faults=faults,
            calm_at=60.0,
        )
        asked: list[tuple[str, Effect, object]] = []

        def spy(steps, part):
            who, result, error = f"{part.me.site}/{part.me.incarnation}", None, None
            while True:
                try:
                    effect = steps.throw(error) if error is not None else steps.send(result)
                except StopIteration:
                    return
                result, error = None, None
                try:
                    result = yield effect
                except (CurtailError, OSError) as raised:
                    error = raised
                asked.append((who, effect, error if error is not None else result))

        played = Played(play(replace(setting, **changes), spy), asked)
        assert played.outcome.wrong == []
        assert played.chain.heads[-1].commit.complete
        return played

    return run
