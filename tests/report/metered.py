"""Writes a short run of one site whose meter says something else than its power model, and not always."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from writing import SetClock, site_started

from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog

HOUR = 3600.0
PHASES = [(0.0, "off"), (600.0, "join"), (900.0, "train"), (4500.0, "sync"), (4560.0, "train")]
END = 7200.0
PUE = 1.2
STATED_W, METERED_W = 2000.0, 1000.0
"""While it trains, without PUE."""
SPANS = [(600.0, 900.0, 200.0), (900.0, 3000.0, METERED_W), (3600.0, 6000.0, METERED_W)]
"""(From, to, watts): nothing is known of ten minutes in between, and of the last twenty."""
OUTLOOK = [(0.0, 50.0), (1800.0, 80.0), (5400.0, 300.0), (4 * HOUR, 300.0)]
STARTED = replace(
    site_started(
        train_w=STATED_W * PUE, idle_w=500.0 * PUE, deadline_s=2 * HOUR, outlook=OUTLOOK, synthetic=False
    ),
    pue=PUE,
    embodied_kg=3500.0,
    lifetime_h=35000.0,
    average=[(0.0, 400.0), (4 * HOUR, 400.0)],
)
CLEANER_LATER = replace(
    STARTED, deadline_s=4 * HOUR, outlook=[(0.0, 300.0), (1800.0, 80.0), (4 * HOUR, 80.0)]
)
"""The same site where to wait saves more than the slots of the optimum blur."""


def energies(
    spans: Sequence[tuple[float, float, float]] = SPANS, *, stated_w: float = 0.0
) -> list[tuple[float, ev.Event]]:
    """What a meter said over spans; `stated_w` of each span's watts it only states."""
    return [
        (
            until,
            ev.Energy(
                since=since,
                until=until,
                joules=watts * (until - since),
                stated_joules=stated_w * (until - since),
            ),
        )
        for since, until, watts in spans
    ]


def write_metered(
    directory: Path,
    *,
    started: ev.SiteStarted = STARTED,
    agent: Sequence[tuple[float, ev.Event]] = (),
    restarted: Sequence[tuple[float, ev.Event]] = (),
) -> Path:
    """Write a run of texas; `agent` is what its agent says besides, `restarted` what a later one says."""
    founded = ev.RunStarted(run="short", seed=1, start="2026-03-21T17:00:00+00:00", rows=8, virtual=True)
    own: list[tuple[float, ev.Event]] = [(0.0, founded), (0.0, started)]
    own += [(t, ev.Phase(phase=phase)) for t, phase in PHASES]
    own += [*agent, (END, ev.Phase(phase="off"))]
    _write(directory, "agent.1", own)
    _write(directory, "agent.2", restarted)
    work = [{"site": "texas", "tokens": 2_000_000, "steps": 8, "rows": [[0, 8]]}]
    committed = ev.Committed(
        version=1,
        hash="a1",
        tokens=2_000_000,
        rows=8,
        work=work,
        joiners=[],
        loss=3.0,
        bytes_sent=0,
        stall_s=0.0,
    )
    ranks: list[tuple[float, ev.Event]] = [
        (900.0, ev.Joined(version=0, how="founded", wall_s=1.0)),
        (END, committed),
        (END, ev.RunFinished(version=1, hash="a1", tokens=2_000_000)),
    ]
    _write(directory, "rank0.1", ranks)
    return directory


def _write(directory: Path, process: str, said: Sequence[tuple[float, ev.Event]]) -> None:
    clock = SetClock()
    with EventLog(directory, site="texas", process=process, clock=clock) as log:
        for t, event in sorted(said, key=lambda one: one[0]):
            clock.t = t
            log.emit(event)
