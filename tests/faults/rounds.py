"""How long rounds took to end, by the members' events."""

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nursery import Ranks

from curtail_dist.telemetry.record import Record
from faults.lab import Lab
from faults.record import wall


@dataclass(frozen=True, kw_only=True)
class Ending:
    """One round's end, as the given processes saw it."""

    version: int
    boundary: float
    """When the last of them had done its last inner step (UTC, seconds)."""
    committed: float
    """When the last of them stood on the new version."""

    @property
    def took_s(self) -> float:
        return self.committed - self.boundary


def ending(lab: Lab, version: int, ranks: Iterable[Ranks]) -> Ending | None:
    """How a round ended, None if one of the processes took no part in it to the end."""
    boundaries: list[float] = []
    commits: list[float] = []
    for one in ranks:
        commit = _first(lab.events.of("commit", ranks=one), version)
        steps = [step for step in lab.events.of("step", ranks=one) if step.round == version]
        if commit is None or not steps:
            return None
        boundaries.append(max(wall(step) for step in steps if step.seq < commit.seq))
        commits.append(wall(commit))
    return Ending(version=version, boundary=max(boundaries), committed=max(commits))


def usual(lab: Lab, ranks: Sequence[Ranks], *, before: int, first: int = 2) -> list[Ending]:
    """The endings of the rounds before a version, from the `first`: what is usual without the fault."""
    found = (ending(lab, version, ranks) for version in range(first, before))
    return [one for one in found if one is not None]


def median_s(endings: Iterable[Ending]) -> float:
    return statistics.median(one.took_s for one in endings)


def exchanges_s(lab: Lab, ranks: Ranks, *, before: int) -> list[float]:
    """How long the exchanges of payloads of a process took, in the rounds before a version."""
    probes = lab.probes(ranks)
    pairs = itertools.pairwise(probes)
    return [
        after["wall"] - one["wall"]
        for one, after in pairs
        if (one["effect"], after["effect"]) == ("GatherPayloads", "StepCopy") and one["version"] < before
    ]


def sent_again(lab: Lab, ranks: Ranks, version: int) -> float:
    """When a survivor began to send its payload again."""
    began = [
        one["wall"]
        for one in lab.probes(ranks)
        if (one["effect"], one["version"]) == ("GatherPayloads", version)
    ]
    assert len(began) >= 2, f"{ranks} sent its payload {len(began)} times in round {version}"
    return began[-1]


def _first(records: Iterable[Record], version: int) -> Record | None:
    return next((one for one in records if one["version"] == version), None)
