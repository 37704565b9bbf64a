"""The life of two sites' wandb runs in one process: begun, gone on with, cut off, and kept on the disk alone.

Told by test_wandb, in a process of its own: wandb_story.py DIRECTORY; where the server is, the environment
says. Whoever tells it a line on standard input lets it go on; what it saw is a line of JSON at its end.
"""

import importlib
import json
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from curtail_dist.telemetry.curves import Curves
from curtail_dist.telemetry.record import read_events
from curtail_dist.telemetry.sinks import feed
from curtail_dist.telemetry.wandb import Common, open_sinks
from curtail_dist.telemetry.wandbfiles import read_records

SITES = ("california", "texas")


class Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def main(directory):
    told = Told()
    logging.getLogger("curtail_dist.telemetry.wandb").addHandler(told)
    logging.getLogger("curtail_dist").setLevel(logging.INFO)
    records = read_events(directory)
    common = Common(
        run="day",
        directory=directory,
        config={"seed": 1},
        curves=lambda: Curves(rows=10_000, shards=8),
        init_s=3.0,
        finish_s=30.0,
    )
    hasty = replace(common, finish_s=1.0)

    def live(first, last, common=common, *, then=lambda: None):
        """An agent's life: all that is written by then is fed anew, in several looks."""
        began = time.monotonic()
        sinks = open_sinks(SITES, common)
        for part in (records[:first], records[first:last]):
            for site, sink in zip(SITES, sinks, strict=True):
                feed(part, sink, site=site)
        then()
        closing = time.monotonic()
        for sink in sinks:
            sink.close()
            sink.close()
        return {"whole_s": time.monotonic() - began, "close_s": time.monotonic() - closing}

    def wait():
        sys.stdout.write("?\n")
        sys.stdout.flush()
        return sys.stdin.readline().strip()

    end = len(records)
    found = {
        "first": live(0, end // 3),
        "second": live(end // 3, end // 2),
        "cut": live(end // 2, 2 * end // 3, hasty, then=wait),
        "silent": live(2 * end // 3, 5 * end // 6, hasty),
    }
    wait()  # for the server to refuse
    found["refused"] = live(5 * end // 6, end, hasty)
    # As at a process's end, before which files may lack their last.
    importlib.import_module("wandb").teardown()
    found["kept"] = [kept(file) for file in sorted(directory.glob("wandb/*run-*/*.wandb"))]
    found["lines"] = list(told.lines)
    os.environ["WANDB_BASE_URL"] = wait()
    live(end, end)
    sys.stdout.write(json.dumps(found))


def kept(file):
    """What a file of wandb's own says."""
    found = {"offline": file.parent.name.startswith("offline"), "id": file.stem.partition("-")[2]}
    found |= {"points": [], "over": {}, "group": ""}
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["group"], found["name"] = record.run.run_group, record.run.display_name
        if kind == "metric":
            found["over"][record.metric.glob_name or record.metric.name] = record.metric.step_metric
        if kind == "history":
            point = {
                item.nested_key[0] or item.key: json.loads(item.value_json) for item in record.history.item
            }
            found["points"].append(point)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
