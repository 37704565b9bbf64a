"""A run of real processes: data, etcd, run file, and sites that are started, broken and watched."""

import json
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from lengths import write_data
from nursery import Nursery, Ranks

from curtail_dist.config import CoordinationConfig, RunConfig
from curtail_dist.coordination import CoordinationStore, open_store
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Member, Presence
from curtail_dist.telemetry.record import Record
from faults.record import Events
from faults.server import Server

PROGRAM = Path(__file__).with_name("program.py")
DEADLINE_S = 90.0
POLL_S = 0.005
TTL_S = 2.0
"""What etcd grants at least, and what the labs' leases ask for."""
STEP_S = 0.02
STEPS = 20
ROWS = 1200
SEED = 1
POWER = {"train_w": 100.0, "idle_w": 10.0}
G_PER_KWH = 10.0
SITE = {"signal": {"kind": "constant", "value": G_PER_KWH}, "power": POWER}

T = TypeVar("T")


def write_whole(path: Path, text: str) -> None:
    """Write a file that others poll."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.rename(path)


def free_port() -> int:
    """Return a port of the loopback that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Lab:
    """One run with an etcd of its own. Owns both: when it closes no process is left."""

    def __init__(
        self,
        folder: Path,
        nursery: Nursery,
        *,
        sites: str = "abc",
        rows: int = ROWS,
        passes: int = 1,
        train: dict[str, Any] | None = None,
        provisioner: dict[str, Any] | None = None,
        **sections: dict[str, Any],
    ) -> None:
        """Prepare; `train` and `sections` are of the run file, `provisioner` is of each of its sites."""
        self.folder = folder
        self.directory = folder / "run"
        self.sites = sites
        self.total_rows = rows * passes
        self.keys = Keys("faults")
        self.events = Events(self.directory)
        self.server = Server(folder)
        self.started: list[Ranks] = []
        self._nursery = nursery
        self._rows = rows
        self._passes = passes
        self._train = train or {}
        self._provisioner = provisioner or {}
        self._sections = sections
        self._store: CoordinationStore | None = None

    def __enter__(self) -> Self:
        self.server.start()
        self.pace(STEP_S)
        manifest = str(write_data(self.folder / "data", self._rows))
        self._tree: dict[str, Any] = {
            "run": {"name": self.keys.run, "directory": str(self.directory), "seed": SEED},
            "sites": {site: {**SITE, "provisioner": self._provisioner} for site in self.sites},
            "coordination": {"endpoints": [self.server.endpoint], "lease_ttl_s": TTL_S},
            "round": {"steps": STEPS},
            "data": {"manifest": manifest, "passes": self._passes},
            "train": {"folder": str(self.folder), **self._train},
        }
        for section, keys in self._sections.items():
            self._tree[section] = {**self._tree.get(section, {}), **keys}
        return self

    def __exit__(self, *_: object) -> None:
        for ranks in self.started:
            if ranks.code is None:
                ranks.send(signal.SIGKILL)
        for ranks in self.started:
            self.wait_for(lambda ranks=ranks: ranks.code is not None, f"the end of {ranks}", watch=False)
        if self._store is not None:
            self._store.close()
        self.server.close()

    @property
    def store(self) -> CoordinationStore:
        """The lab's own connection to etcd."""
        if self._store is None:
            self._store = open_store(CoordinationConfig(endpoints=(self.server.endpoint,)))
        return self._store

    def config(self) -> RunConfig:
        """The run file, read."""
        run_file = self.folder / "run.yaml"
        run_file.write_text(yaml.safe_dump(self._tree))
        return RunConfig.from_yaml(run_file)

    # What is done

    def start(self, site: str, **train: object) -> Ranks:
        """Start a site's process; keywords are of the run file's `train`."""
        return self._start(site, train, {})

    def start_ranks(self, site: str, count: int, **train: object) -> list[Ranks]:
        """Start a site of several ranks, as torchrun would; the first is rank 0, which is in the run."""
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
        return [self._start(site, train, {**meeting, "RANK": str(rank)}) for rank in range(count)]

    def _start(self, site: str, train: Mapping[str, object], environment: Mapping[str, str]) -> Ranks:
        stem = self.folder / f"{site}-{len(self.started)}"
        tree = {**self._tree, "train": {**self._tree["train"], **train}}
        run_file = stem.with_suffix(".yaml")
        run_file.write_text(yaml.safe_dump(tree))
        told = ["--config", str(run_file), "--site", site]
        ranks = self._nursery.fork(PROGRAM, told, site=site, output=stem, environment=environment)
        self.started.append(ranks)
        return self.started[-1]

    def start_together(self, **train: Mapping[str, object]) -> dict[str, Ranks]:
        """Start all sites and let none train before all are in; keywords give a site's `train`."""
        self.pace("hold")
        first, *others = self.sites
        ranks = {first: self.start(first, **train.get(first, {}))}
        self.wait_for(lambda: self.events.of("joined", ranks=ranks[first]), "the founder in the run")
        for site in others:
            ranks[site] = self.start(site, **train.get(site, {}))
        self.wait_for(lambda: self.ready() >= set(others), "all sites ready to enter")
        self.pace(STEP_S)
        for one in ranks.values():
            self.commit_by(one, 1)
        return ranks

    def pace(self, step_s: float | str) -> None:
        """Say how long inner steps take from now on; `hold` makes sites wait."""
        write_whole(self.folder / "pace", str(step_s))

    def arm(self, ranks: Ranks, signal_name: str, at: str, **where: float) -> None:
        """Have a fault fired inside a process, see trigger.py."""
        if signal_name == "KILL":
            ranks.may_end.add(-signal.SIGKILL)
        plan = {"signal": signal_name, "at": at, **where}
        write_whole(self.folder / f"arm-{ranks.site}.json", json.dumps(plan))

    def disarm(self, ranks: Ranks) -> None:
        """Take an armed fault back, unless it has fired."""
        (self.folder / f"arm-{ranks.site}.json").unlink(missing_ok=True)

    def finish(self, *ranks: Ranks) -> list[dict[str, Any]]:
        """Let the run complete as fast as it can; return what the processes said of themselves."""
        self.pace(0.0)
        for one in ranks:
            self.wait_for(lambda one=one: one.code is not None, f"the orderly end of {one}")
        return [one.said for one in ranks]

    # What is seen

    def fired(self, ranks: Ranks) -> dict[str, Any] | None:
        """The proof that the armed fault fired."""
        proof = self.folder / f"fired-{ranks.site}-{ranks.pid}.json"
        return json.loads(proof.read_text()) if proof.exists() else None

    def probes(self, ranks: Ranks) -> list[dict[str, Any]]:
        """Effects that a process came to: `effect`, `wall`, `version`."""
        lines = (self.folder / f"probes-{ranks.site}-{ranks.pid}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def head(self) -> Commit:
        """The newest commit, version 0 without a hash before the run is founded."""
        entry = self.store.get(self.keys.head)
        if entry is None:
            return Commit(version=0, hash="", parent="", epoch=0, total_rows=self.total_rows)
        return Commit.decode(entry.value)

    def present(self) -> dict[str, Member]:
        """Sites whose lease lives."""
        listed = [Presence.decode(one.value) for one in self.store.list(self.keys.members).entries]
        return {presence.member.site: presence.member for presence in listed}

    def ready(self) -> set[str]:
        """Sites that hold head's state and ask to enter."""
        listed = [Presence.decode(one.value) for one in self.store.list(self.keys.members).entries]
        return {presence.member.site for presence in listed if presence.ready}

    def check(self) -> None:
        """Fail if a process has ended as nobody wanted it to."""
        for ranks in self.started:
            ranks.check()

    def wait_for(
        self, look: Callable[[], T | None], what: str, *, timeout: float = DEADLINE_S, watch: bool = True
    ) -> T:
        """Return the first result of `look` that is true; a process that fails meanwhile fails the test."""
        deadline = time.monotonic() + timeout
        while not (found := look()):
            if watch:
                self.check()
            assert time.monotonic() < deadline, f"{what} did not come within {timeout} s"
            time.sleep(POLL_S)
        return found

    def commit_by(self, ranks: Ranks, version: int, *, after: float = 0.0) -> Record:
        """Wait until a process stands on this version or a later one; return its commit."""

        def look() -> Record | None:
            commits = self.events.of("commit", ranks=ranks)
            found = (one for one in commits if one["version"] >= version and one.wall.timestamp() > after)
            return next(found, None)

        return self.wait_for(look, f"commit {version} of {ranks}")

    def let_pass(self, seconds: float) -> None:
        """Let real time pass (a fault has a duration) while no process may end."""
        end = time.monotonic() + seconds
        self.wait_for(lambda: time.monotonic() >= end, f"{seconds} s", timeout=seconds + DEADLINE_S)
