"""What `curtail status` shows, letter by letter, at 80 columns and at 40."""

from pathlib import Path
from typing import Any

import pytest
from statusrun import (
    SilentStore,
    agent,
    commit,
    found,
    run_file,
    run_started,
    seen,
    started,
    step,
    tell,
    write,
    write_events,
)

from curtail_dist.cli.status.terminal import text
from curtail_dist.coordination import MemoryCluster, MemoryStore
from curtail_dist.telemetry import events as ev

LONG = "south-australia-wind-park-number-seventeen"


def reading(g_per_kwh: float) -> tuple[float, ev.ReadingSeen]:
    return 0.0, ev.ReadingSeen(g_per_kwh=g_per_kwh, measured_t=0.0, source="wind.csv")


def day(directory: Path) -> dict[str, Any]:
    """One site trains, one waits for a GPU, one is ordered to stay away and has lost its feed."""
    run_file(directory, sites=["texas", "california", LONG])
    store = MemoryStore(MemoryCluster())
    found(store, members=["texas"], alive=["texas"])
    tell(
        store,
        texas=agent(),
        california=agent(stage="joining", since=1500.0, waiting="no free GPU slot: 1 wanted, 0 of 1 free"),
        **{
            LONG: agent(
                stage="off",
                since=0.0,
                reason="480 g/kWh is not below 100",
                g_per_kwh=480.0,
                order="hold by op@desk: new disks",
                troubles={"signal": "HTTP 503"},
            )
        },
    )
    write(
        directory,
        "texas",
        (0.0, run_started()),
        (0.0, started()),
        reading(50.0),
        (0.0, ev.Phase(phase="join")),
        (60.0, ev.Phase(phase="train")),
        (60.0, ev.RoundStarted(steps=5, rows=[])),
        (600.0, step(tokens=600_000)),
        (1200.0, step(tokens=740_000, loss=4.3)),
        (1500.0, ev.Phase(phase="idle")),
        (1560.0, ev.Phase(phase="sync")),
        (1600.0, commit(7, rows=40, by="texas")),
        (1600.0, ev.Evaluated(version=7, val_bpb=1.234)),
        (1600.0, ev.Phase(phase="train")),
        (1800.0, step(tokens=700_000, loss=4.1)),
    )
    far = [(0.0, 50.0), (4000.0, 300.0), (20_000.0, 300.0)]
    write(
        directory, "california", (0.0, started(outlook=far)), reading(88.0), (1500.0, ev.Phase(phase="join"))
    )
    later = [(0.0, 480.0), (7200.0, 90.0), (20_000.0, 300.0)]
    write(directory, LONG, (0.0, started(outlook=later)), reading(480.0))
    return seen(directory, store)


AT_80 = """
day: 1 of 3 sites active; epoch 3, version 7, round 12
[#################...........................] 40%, 40 of 100 rows, 5,000 tokens
at 2026-03-21 17:30 UTC: 1,200 tokens/s, loss 4.300, 1.234 bits/byte held out,
0.024 kg CO2 so far
ends in about 1:14 h, 2026-03-21 18:43 UTC, by the windows in the outlook,
without california, south-australia-wind-park-number-seventeen

! california waits: no free GPU slot: 1 wanted, 0 of 1 free
  do: nothing, if it may wait; `curtail hold california` takes it back
! south-australia-wind-park-number-seventeen goes by its reading of 2026-03-21
  17:10 UTC: HTTP 503
  do: look at the feed: account, plan, address, clock

site                     state   g/kWh window      round tok/s  loss idle kg CO2
california               waiting    50 37 min left     -     -     -   0%  0.001
south-australia-wind-par off       480 in 1:30 h       -     -     -    -  0.000
k-number-seventeen
texas                    train      50 30 min left    12 1,200 4.100   3%  0.023

california: joining for 5 min, 50 g/kWh is below 100 (wind.csv)
south-australia-wind-park-number-seventeen: off for 30 min, 480 g/kWh is not
below 100 (wind.csv)
    ordered: hold by op@desk: new disks
texas: on for 20 min, 50 g/kWh is below 100 (wind.csv)
"""
AT_40 = """
day: 1 of 3 sites active; epoch 3,
version 7, round 12
[###############.......................]
40%, 40 of 100 rows, 5,000 tokens
at 2026-03-21 17:30 UTC: 1,200 tokens/s,
loss 4.300, 1.234 bits/byte held out,
0.024 kg CO2 so far
ends in about 1:14 h, 2026-03-21 18:43
UTC, by the windows in the outlook,
without california,
south-australia-wind-park-number-sevente
en

! california waits: no free GPU slot: 1
  wanted, 0 of 1 free
  do: nothing, if it may wait; `curtail
  hold california` takes it back
! south-australia-wind-park-number-seven
  teen goes by its reading of 2026-03-21
  17:10 UTC: HTTP 503
  do: look at the feed: account, plan,
  address, clock

california: waiting
  50 g/kWh, window 37 min left
  idle 0%, 0.001 kg CO2
  joining for 5 min, 50 g/kWh is below
  100 (wind.csv)
south-australia-wind-park-number-sevente
en: off
  480 g/kWh, window in 1:30 h
  0.000 kg CO2
  off for 30 min, 480 g/kWh is not below
  100 (wind.csv)
  ordered: hold by op@desk: new disks
texas: train
  50 g/kWh, window 30 min left
  round 12, 1,200 tok/s, loss 4.100
  idle 3%, 0.023 kg CO2
  on for 20 min, 50 g/kWh is below 100
  (wind.csv)
"""


def test_a_day_at_80_columns(tmp_path: Path):
    assert text(day(tmp_path), 80) == AT_80.strip("\n")


def test_a_day_at_40_columns(tmp_path: Path):
    assert text(day(tmp_path), 40) == AT_40.strip("\n")


UNFOUNDED = """
day: nobody has founded this run yet

! no events of this run can be read here: phases, rates and kilograms are not
  known
  do: ask on a machine that has the run directory (run.directory in the run
  file)
! no agent runs for california, texas
  do: start it there: curtail site --config RUN.yaml --site NAME

site       state g/kWh window round tok/s loss idle kg CO2
california -         - -          -     -    -    -      -
texas      -         - -          -     -    -    -      -
"""
UNFOUNDED_40 = """
day: nobody has founded this run yet

! no events of this run can be read
  here: phases, rates and kilograms are
  not known
  do: ask on a machine that has the run
  directory (run.directory in the run
  file)
! no agent runs for california, texas
  do: start it there: curtail site
  --config RUN.yaml --site NAME

california: -
texas: -
"""


def test_a_run_that_nobody_founded(tmp_path: Path):
    run_file(tmp_path)
    facts = seen(tmp_path)
    assert text(facts, 80) == UNFOUNDED.strip("\n")
    assert text(facts, 40) == UNFOUNDED_40.strip("\n")


FINISHED = """
day: complete; epoch 3, version 7
[##########################################] 100%, 100 of 100 rows, 5,000 tokens
at 2026-03-21 17:31 UTC: loss 4.500, 0.026 kg CO2 so far

site       state g/kWh window round tok/s  loss idle kg CO2
california off     300 -          -     -     -    -  0.000
texas      off      50 -          -     - 4.500   0%  0.026
"""


def test_a_complete_run(tmp_path: Path):
    run_file(tmp_path)
    store = MemoryStore(MemoryCluster())
    found(store, alive=[], members=["texas"], done=100)
    write_events(tmp_path)
    over = [(1900.0, ev.RunFinished(version=7, hash="aa", tokens=5000)), (1901.0, ev.Phase(phase="off"))]
    write(tmp_path, "texas", *over, process="rank0.1")
    write(tmp_path, "california", (0.0, started()), reading(300.0))
    assert text(seen(tmp_path, store), 80) == FINISHED.strip("\n")


SILENT = """
day: THE STORE DOES NOT ANSWER, who is active is not known; the events say:
epoch 3, version 0
[..................................................] 0%, 0 of 100 rows, 0 tokens
at 2026-03-21 17:30 UTC: loss 4.500, 0.025 kg CO2 so far
its end cannot be told: the events here tell of no finished round yet

! the store does not answer: no etcd at 127.0.0.1:1 answers
  do: bring etcd back within 10 min: until then sites train on and lose nothing

site       state g/kWh window      round tok/s  loss idle kg CO2
california -         - -               -     -     -    -      -
texas      train    50 30 min left     -     - 4.500   0%  0.025
"""


def test_a_store_that_does_not_answer(tmp_path: Path):
    run_file(tmp_path)
    write_events(tmp_path)
    assert text(seen(tmp_path, SilentStore()), 80) == SILENT.strip("\n")


@pytest.mark.parametrize("width", [1, 12, 40, 79, 80, 200])
def test_ten_sites_fit_into_any_width(tmp_path: Path, width: int):
    names = [f"site-{n}" for n in range(9)] + [LONG]
    run_file(tmp_path, sites=names)
    store = MemoryStore(MemoryCluster())
    found(store, members=names, alive=names[:8])
    for name in names[:8]:
        tell(store, **{name: agent(reason="\x1b[31mred\x07 and \u202eturned", polled_t=400_000.0)})
    for name in names:
        write(
            tmp_path,
            name,
            (0.0, run_started()),
            (0.0, started(outlook=[(0.0, 500.0), (360_000.0, 50.0), (720_000.0, 50.0)])),
            (0.0, ev.Phase(phase="train")),
            (1.0, step(tokens=1)),
            (1.1, step(tokens=123_456_789, loss=12.3456)),
            (1.1, commit(123_456, rows=1, by=name)),
        )
    shown = text(seen(tmp_path, store), width)
    assert max(map(len, shown.splitlines())) <= width
    assert all(c.isprintable() or c == "\n" for c in shown)
    if width >= 60:
        assert all(any(line.startswith(name[:12]) for line in shown.splitlines()) for name in names)
