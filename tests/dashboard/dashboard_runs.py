"""Event files as a run would have written them, as large as is asked for, and a dashboard over them."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from curtail_dist.telemetry.record import SCHEMA

START = datetime(2026, 3, 21, 17, tzinfo=UTC)
STEP_S = 30.0


class Pen:
    """Writes lines of one process of a site."""

    def __init__(self, directory, site, process="rank-1"):
        (directory / "events").mkdir(parents=True, exist_ok=True)
        self.file = directory / "events" / f"{site}.{process}.jsonl"
        self.site = site
        self.seq = 0

    def line(self, t, event, *, epoch=1, round=1, **fields):
        wall = (START + timedelta(seconds=t)).isoformat()
        stamps = {"schema": SCHEMA, "event": event, "site": self.site, "epoch": epoch, "round": round}
        self.seq += 1
        return json.dumps({**stamps, "t": t, "wall": wall, "seq": self.seq, **fields}) + "\n"

    def write(self, *arguments, **fields):
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(self.line(*arguments, **fields))


def site_started(pen, *, hours=24.0):
    pen.write(
        0.0,
        "site_started",
        train_w=2000.0,
        idle_w=400.0,
        join_w=400.0,
        sync_w=500.0,
        threshold_g_per_kwh=100.0,
        leave_delay_s=600.0,
        deadline_s=hours * 3600,
        outlook=[[hour * 3600.0, 40.0 if hour % 8 < 4 else 300.0] for hour in range(int(hours) + 1)],
        synthetic=True,
    )


def founded(pen, *, name="big", rows=1_000_000):
    pen.write(0.0, "run_started", run=name, seed=1, start=START.isoformat(), rows=rows, virtual=True)


def write_run(directory, *, sites, events, finished=False):
    """A run of so many sites with about so many events; return the pens."""
    pens = [Pen(directory, f"site-{number:02}") for number in range(sites)]
    founded(pens[0])
    for pen in pens:
        site_started(pen)
    rounds = events // (sites * 13)
    for number, pen in enumerate(pens):
        lines, t = [], 0.0
        lines.append(pen.line(0.0, "joined", version=0, how="founded", wall_s=1.0))
        for count in range(1, rounds + 1):
            lines.append(pen.line(t, "phase", phase="train"))
            lines.append(
                pen.line(
                    t, "reading", g_per_kwh=40.0 + 5 * number, measured_t=t, source="trace", basis="marginal"
                )
            )
            for _ in range(8):
                t += STEP_S
                loss = 3 + 4 / (1 + t / 9000) + 0.1 * ((count * 7 + number) % 5)
                lines.append(pen.line(t, "step", round=count, steps=1, tokens=2048, rows=4, loss=loss))
            lines.append(pen.line(t, "phase", phase="sync"))
            lines.append(commit(pen, t + 4, count, loss=loss, members=[other.site for other in pens]))
            lines.append(pen.line(t + 4, "stage", stage="on", reason="it trains", was="joining", after_s=3.0))
            t += 5
        if finished:
            lines.append(pen.line(t, "run_finished", version=rounds, hash=f"{rounds:08x}", tokens=rounds * 8))
        with pen.file.open("a", encoding="utf-8") as stream:
            stream.writelines(lines)
    return pens


def commit(pen, t, count, *, loss=3.0, epoch=1, members=()):
    members = members or [pen.site]
    first = (count - 1) * 8 * len(members)
    work = [
        {"site": site, "tokens": 16384, "steps": 8, "rows": [[first + 8 * place, first + 8 * place + 8]]}
        for place, site in enumerate(members)
    ]
    return pen.line(
        t,
        "commit",
        epoch=epoch,
        round=count,
        version=count,
        hash=f"{count:08x}",
        parent=f"{count - 1:08x}",
        tokens=count * 16384 * len(members),
        rows=count * 8 * len(members),
        work=work,
        joiners=[],
        loss=loss,
        bytes_sent=1_000_000,
        stall_s=0.5,
    )


@contextmanager
def served(*arguments):
    """The address of a real dashboard, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "curtail_dist.cli.main", "dashboard", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        found = re.search(r"http://[^ ]+", process.stdout.readline())
        assert found, process.stderr.read()
        yield found[0], process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()
