"""Four sites and their etcd under a seeded schedule of faults of all kinds, for a given time."""

import heapq
import itertools
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from nursery import Nursery, Ranks

from curtail_dist.report.build import write_report
from faults.agents import Agents
from faults.lab import STEP_S, TTL_S, Lab
from faults.record import wall
from faults.truth import history, verify

SITES = "abcd"
ROWS = 6000
LIVELY = 0.6
"""Share of the time in which sites train at most: the run must outlast the faults, and not by much."""
BATCH_ROWS = 4
SETTLE_S = 2.0
EVERY_S = (2.0, 7.0)
"""A fault comes so long after the one before."""
DOWN_S = (0.3, 3.0)
"""A process that ended is started again after so long."""
AWAY_S = (0.5, 6.0)
FIRE_S = 8.0
"""Time in which an armed fault must fire; else it is taken back and not counted."""
LAST_VERSIONS = 9
EFFECTS = ("GatherCards", "GatherPayloads", "StepCopy", "GatherVotes", "Swap")
WRITER_EFFECTS = ("MakeDurable", "Transact", "SnapshotSoon")
"""Only the lowest rank comes to these while it lives."""


class Chaos:
    """Breaks one lab. Faults follow each other in shuffled turns of all kinds, so that each kind comes."""

    def __init__(self, lab: Lab, agents: Agents, seed: int) -> None:
        self.lab = lab
        self._agents = agents
        self.injected = 0
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._running: dict[str, Ranks] = {}
        self._frozen: set[str] = set()
        self._etcd_away = False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._turn: list[str] = []

    def run(self, duration_s: float) -> None:
        """Inject faults for so long, then put everything back up."""
        for site in self.lab.sites:
            self._start(site)
        end = time.monotonic() + duration_s
        following = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            self._go_on()
            if time.monotonic() >= following:
                self._inject()
                following = time.monotonic() + self._chance.uniform(*EVERY_S)
        while self._later or not all(map(self._came, self._running.values())):
            self._go_on()

    def finish(self) -> list[dict[str, Any]]:
        """Let the run complete and return what the processes said."""
        assert not self.lab.head().complete, "the run was complete before its time; give it more rows"
        results = self.lab.finish(*self._running.values())
        for ranks in self._running.values():
            self._agents.ended(ranks)
        return results

    # Faults. Each says whether it was possible now.

    def _inject(self) -> None:
        faults: dict[str, Callable[[], bool]] = {
            "kill": self._kill,
            "freeze_short": self._freeze_short,
            "freeze_long": self._freeze_long,
            "drain": self._drain,
            "etcd": self._etcd,
            "kill_at_effect": self._kill_at_effect,
            "everything": self._everything,
        }
        if not self._turn:
            self._turn = list(faults)
            self._chance.shuffle(self._turn)
        kind = self._turn.pop()
        if faults[kind]():
            self.injected += 1
            self.counts[kind] += 1
        else:
            self._turn.insert(0, kind)

    def _pick(self) -> Ranks | None:
        """A site that can be broken: it runs, and has come in."""
        sites = [site for site in sorted(self._running) if site not in self._frozen]
        came = [site for site in sites if self._came(self._running[site])]
        return self._running[self._chance.choice(came)] if came else None

    def _kill(self) -> bool:
        ranks = self._pick()
        if ranks is not None:
            self._break(ranks, signal.SIGKILL)
            self._restart(ranks)
        return ranks is not None

    def _kill_at_effect(self) -> bool:
        ranks = self._pick()
        if ranks is None:
            return False
        effect = self._chance.choice(EFFECTS + WRITER_EFFECTS)
        if effect in WRITER_EFFECTS:
            ranks = self._running[min(self._running)]
        self.lab.arm(ranks, "KILL", effect)
        deadline = time.monotonic() + FIRE_S
        while ranks.code is None and time.monotonic() < deadline:
            self._go_on()
        self.lab.disarm(ranks)
        if ranks.code is None and self.lab.fired(ranks) is None:
            return False
        self.counts[f"kill_at_{effect}"] += 1
        self._agents.broke(ranks.site, f"SIGKILL at {effect}")
        self._restart(ranks)
        return True

    def _freeze_short(self) -> bool:
        """Shorter than a lease: nobody need notice."""
        return self._freeze(self._chance.uniform(0.2, 0.5 * TTL_S))

    def _freeze_long(self) -> bool:
        """Longer than a lease: the others go on without it."""
        return self._freeze(self._chance.uniform(1.5 * TTL_S, 3.0 * TTL_S))

    def _freeze(self, seconds: float) -> bool:
        ranks = self._pick()
        if ranks is None:
            return False
        self._break(ranks, signal.SIGSTOP)
        self._frozen.add(ranks.site)

        def thaw() -> None:
            ranks.send(signal.SIGCONT)
            if self._running.get(ranks.site) is ranks:
                self._frozen.discard(ranks.site)

        self._after(seconds, thaw)
        return True

    def _drain(self) -> bool:
        ranks = self._pick()
        if ranks is not None:
            self._break(ranks, signal.SIGTERM)
            self._restart(ranks)
        return ranks is not None

    def _etcd(self) -> bool:
        if self._etcd_away:
            return False
        self._etcd_away = True
        self.lab.server.kill()
        self._after(self._chance.uniform(*AWAY_S), self._restart_etcd)
        return True

    def _everything(self) -> bool:
        if self._chance.random() < 0.5 and self._etcd():
            self.counts["everything_with_etcd"] += 1
        for ranks in list(self._running.values()):
            self._break(ranks, signal.SIGKILL)
            self._restart(ranks)
        return True

    def _break(self, ranks: Ranks, number: signal.Signals) -> None:
        self._agents.broke(ranks.site, number.name)
        ranks.send(number)

    # What follows them

    def _go_on(self) -> None:
        """Let a moment pass, and do what is due by then."""
        self.lab.let_pass(0.02)
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for ranks in list(self._running.values()):
            if ranks.code == 1:
                assert not self._came(ranks), f"{ranks} was in the run and ended:\n{ranks.errors[-3000:]}"
                self.counts["start_without_etcd"] += 1
                self._restart(ranks)

    def _came(self, ranks: Ranks) -> bool:
        """Whether a process has come into the run, from when on it is not to end by itself."""
        return bool(self.lab.events.of("joined", ranks=ranks))

    def _start(self, site: str) -> None:
        self._running[site] = self.lab.start(site)
        self._agents.started(self._running[site])
        self._running[site].may_end.add(1)  # it may find no etcd; its agent starts it again

    def _restart(self, ranks: Ranks) -> None:
        """Start a site again some time after its process has ended."""
        self._running.pop(ranks.site)
        self._frozen.discard(ranks.site)

        def start() -> None:
            if ranks.code is None:
                self._after(0.1, start)
            else:
                self._agents.ended(ranks)
                self._start(ranks.site)

        self._after(self._chance.uniform(*DOWN_S), start)

    def _restart_etcd(self) -> None:
        self.lab.server.start()
        self._etcd_away = False

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._tickets), do))


def chaos(nursery: Nursery, folder: Path, *, seed: int = 0, duration_s: float = 600.0) -> dict[str, Any]:
    """Run four sites under faults, let the run complete, check all of it, and write its report."""
    rows = len(SITES) * BATCH_ROWS * duration_s / STEP_S
    passes = max(1, round(rows * LIVELY / ROWS))
    sections: dict[str, Any] = {"telemetry": {"step_every": 5}}
    with Lab(folder, nursery, sites=SITES, rows=ROWS, passes=passes, **sections) as lab:
        began = time.monotonic()
        with closing(Agents(lab, deadline_s=duration_s)) as agents:
            broken = Chaos(lab, agents, seed)
            broken.run(duration_s)
            faults_s = time.monotonic() - began
            results = broken.finish()
        assert len({(result["version"], result["hash"]) for result in results}) == 1
        facts = verify(lab)
        losses = _losses(lab)
        # Over several versions: the rows of one may be a handful, whose own spread is half of the first loss.
        last = statistics.median(losses[-LAST_VERSIONS:])
        assert last < 0.5 * losses[0], f"the loss went from {losses[0]} to {last} over the last of {losses}"
        page = write_report(lab.directory)
        return {
            "duration_s": faults_s,
            "completed_s": time.monotonic() - began,
            "faults": broken.injected,
            "faults_by_kind": dict(sorted(broken.counts.items())),
            "membership_changes": len(history(lab).epochs) - 1,
            "processes": len(lab.started),
            "discarded_rounds": len(lab.events.of("round_discarded")),
            "longest_without_commit_s": _longest_gap(lab),
            "loss": losses[:: max(1, len(losses) // 200)],
            "report": page.name,
            **facts,
        }


def _losses(lab: Lab) -> list[float]:
    """Mean training loss of each version, as its members saw it."""
    losses: dict[int, list[float]] = {}
    for one in lab.events.of("commit"):
        if one["loss"] is not None:
            losses.setdefault(one["version"], []).append(one["loss"])
    return [sum(losses[version]) / len(losses[version]) for version in sorted(losses)]


def _longest_gap(lab: Lab) -> float:
    walls = sorted(wall(one) for one in lab.events.of("commit"))
    return max(b - a for a, b in itertools.pairwise(walls))
