"""Measures how long a decision takes to be in the store, and until the site's ranks have left the run.

    PYTHONPATH=tests python benchmarks/bench_decisions.py [--rounds 10] [--out FILE]

Two sites, each with its agent (`curtail site`), torchrun and one rank of a model that costs next to nothing,
on one real etcd; every inner step takes a second. Their intensity comes from a server on loopback that is
asked four times a second. In each round one site's becomes high at a random moment, then the other's, which
is the last one out; then both become low again. Ranks stay in memory (`provisioner.park_s`), so that joins
are quick.

`decided_to_store_s` is from the decision's event to the moment at which a watch of ours shows the request.
`decided_to_stopped_s` is from there to the event with which the ranks say that they have left. It may take at
most the slowest member's inner step, an exchange and a commit, and the snapshot for the last one out:
`allowed_s` is the longest inner step and the longest usual end of a round (from the last inner step of its
members to the commit, its snapshot made durable) that were seen in rounds of as many members.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from faults.lab import write_data
from faults.record import wall
from thinlink.record import bound, conditions, save, spread

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.membership.keys import Keys
from curtail_dist.telemetry.record import Record, read_events

STEP_S = 1.0
STEPS = 20
SITES = ("a", "b")
GREEN, DIRTY = 50.0, 300.0
WAIT_S = 120.0
PROGRAM = "import sys\nfrom faults.program import main\nsys.exit(main(sys.argv[1:]))\n"
KEYS = Keys("decisions")


class Feed:
    """Says a site's intensity to whoever asks."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(SITES, GREEN)
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[None]:
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"value": feed.values[self.path.strip("/")]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield
            server.shutdown()


class Requests:
    """When requests to leave were first seen in the store, by a watch of our own: (site, UTC seconds)."""

    def __init__(self, endpoint: str) -> None:
        self.seen: list[tuple[str, float]] = []
        self._store = open_store(CoordinationConfig(endpoints=(endpoint,)))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        prefix = KEYS.drain("")
        watch = self._store.watch(prefix, revision=self._store.list(prefix).revision + 1)
        while not self._closing.is_set():
            for change in watch.next(0.2):
                if change.entry is not None:
                    self.seen.append((change.key.removeprefix(prefix), time.time()))
        watch.close()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._store.close()


def run_file(folder: Path, feed: Feed, endpoint: str) -> Path:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    (folder / "pace").write_text(str(STEP_S))

    def site(name: str) -> dict[str, Any]:
        return {
            "signal": {
                "kind": "http",
                "url": f"{feed.url}/{name}",
                "value_at": "/value",
                "every_s": 0.25,
            },
            "power": {"train_w": 100.0, "idle_w": 10.0},
            "provisioner": {"park_s": 3600.0},
        }

    tree = {
        "run": {"name": KEYS.run, "directory": str(folder / "run")},
        "sites": {name: site(name) for name in SITES},
        "coordination": {"endpoints": [endpoint]},
        "policy": {"poll_s": 0.25, "leave_delay_s": 0.0, "max_age_s": 30.0},
        "round": {"steps": STEPS},
        "data": {"manifest": str(write_data(folder / "data", 50_000))},
        "train": {"program": str(program), "folder": str(folder)},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


class Day:
    """The run under way, by its events."""

    def __init__(self, folder: Path) -> None:
        self._directory = folder / "run"

    def records(self) -> list[Record]:
        files = self._directory / "events"
        return read_events(self._directory) if any(files.glob("*.jsonl")) else []

    def stage(self, site: str) -> str:
        found = [one["stage"] for one in self.records() if (one.event, one.site) == ("stage", site)]
        return found[-1] if found else ""

    def commits(self) -> int:
        return sum(one.event == "commit" for one in self.records())

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {WAIT_S:g} s in vain for {what}")
            time.sleep(0.1)


def step_s(records: list[Record]) -> float:
    """The longest time between two inner steps of a process in one round."""
    found, before = 0.0, dict[tuple[str, int], float]()
    for one in records:
        if one.event == "step":
            key = one.process, one.round
            found = max(found, wall(one) - before.get(key, wall(one)))
            before[key] = wall(one)
    return found


def usual_ends_s(records: list[Record], members: int) -> list[float]:
    """How long rounds of as many members took to end, without those that somebody came to."""
    found: list[float] = []
    commits = [one for one in records if one.event == "commit"]
    for version in {one["version"] for one in commits}:
        own = [one for one in commits if one["version"] == version]
        steps = [wall(one) for one in records if one.event == "step" and one.round == version]
        if steps and len(own[0]["work"]) == members and not own[0]["joiners"]:
            found.append(max(map(wall, own)) - max(steps))
    return found


def measured(day: Day, requests: Requests, site: str, *, last: bool, since: float) -> dict[str, Any]:
    """What the newest drain of a site took."""
    records = [one for one in day.records() if one.site == site and wall(one) >= since]
    decided = next(one for one in records if one.event == "decided" and one["action"] == "drain")
    drained = next(one for one in records if one.event == "drained")
    asked = next(at for name, at in requests.seen if name == site and at >= since)
    everyone = day.records()
    allowed = step_s(everyone) + max(usual_ends_s(everyone, 1 if last else 2))
    stopped = wall(drained) - wall(decided)
    return {
        "last_one_out": last,
        "decided_to_store_s": asked - wall(decided),
        "decided_to_stopped_s": stopped,
        "allowed_s": allowed,
        "within": stopped <= allowed,
    }


def play(day: Day, feed: Feed, requests: Requests, rounds: int) -> list[dict[str, Any]]:
    chance, found = random.Random(1), list[dict[str, Any]]()
    for number in range(rounds):
        for site in SITES:
            day.wait(lambda site=site: day.stage(site) == "on", f"site {site} on")
        commits = day.commits()
        day.wait(lambda commits=commits: day.commits() >= commits + 2, "a commit of both")
        leaver, stayer = SITES if number % 2 else SITES[::-1]
        for site, last in ((leaver, False), (stayer, True)):
            time.sleep(chance.uniform(1.0, 4.0))
            since, feed.values[site] = time.time(), DIRTY
            day.wait(lambda site=site: day.stage(site) == "off", f"site {site} off")
            found.append(measured(day, requests, site, last=last, since=since))
            print(found[-1], flush=True)
        feed.values.update(dict.fromkeys(SITES, GREEN))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/decisions.json"))
    args = parser.parse_args()
    before, feed = conditions(), Feed()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decisions-")))
        stack.enter_context(feed.serving())
        etcd = stack.enter_context(EmbeddedEtcd(None))
        path = run_file(folder, feed, etcd.endpoint)
        requests = Requests(etcd.endpoint)
        stack.callback(requests.close)
        main_module = "import sys; from curtail_dist.cli.main import main; sys.exit(main(sys.argv[1:]))"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        agents = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    main_module,
                    "site",
                    "--unchecked",
                    "--config",
                    str(path),
                    "--site",
                    name,
                ],
                env=environment,
                stdout=subprocess.DEVNULL,
            )
            for name in SITES
        ]
        try:
            plays = play(Day(folder), feed, requests, args.rounds)
        finally:
            for agent in agents:
                agent.terminate()
            for agent in agents:
                agent.wait(90)
    figures = {
        name: {
            key: spread([one[key] for one in plays if one["last_one_out"] is last])
            for key in ("decided_to_store_s", "decided_to_stopped_s", "allowed_s")
        }
        for name, last in (("one_of_two", False), ("last_one_out", True))
    }
    late = sum(not one["within"] for one in plays)
    result = {
        "figures": figures,
        "must": {
            "decided_to_store_s": bound(max(one["decided_to_store_s"] for one in plays), 1.0),
            "drains_longer_than_allowed": bound(late, 0),
        },
        "plays": plays,
        "does_not_show": "how long a provider takes to say that the intensity has changed, nor inner steps "
        "and snapshots as long as those of large models",
    }
    save(args.out, result, before=before)


if __name__ == "__main__":
    main()
