"""A run of real processes: data, run file, and sites that are started, killed and watched by their events."""

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from lengths import write_data
from nursery import Nursery, Ranks

from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.data.order import RowOrder
from curtail_dist.errors import DataError
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Presence
from curtail_dist.telemetry.record import Record, read_events

PROGRAM = Path(__file__).with_name("program.py")
ROWS = 1200
SEED = 1
GRACE_S = 1.0
DEADLINE_S = 60.0
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, timeout: float = DEADLINE_S) -> T:
    """Return the first result of `look` that is true; fails after `timeout`, saying `what` did not come."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come within {timeout} s"
        time.sleep(0.01)
    return found


class Lab:
    """One run. Owns the processes it starts: none is left after `close`."""

    def __init__(
        self, folder: Path, nursery: Nursery, endpoint: str, *, name: str = "t", **sections: dict[str, Any]
    ) -> None:
        self.folder = folder
        self._nursery = nursery
        self.directory = folder / "run"
        self.keys = Keys(name)
        self.started: list[Ranks] = []
        self._tree: dict[str, Any] = {
            "run": {"name": name, "directory": str(self.directory), "seed": SEED},
            "sites": {"a": SITE, "b": SITE, "c": SITE},
            "coordination": {"endpoints": [endpoint]},
            "round": {"steps": 10, "grace_s": GRACE_S},
            "data": {"manifest": str(write_data(folder / "data", ROWS))},
            "state": {"durable_before_commit": True},
            "train": {"holds": str(folder)},
        }
        for section, keys in sections.items():
            self._tree[section] = {**self._tree.get(section, {}), **keys}

    def start(self, site: str, *overrides: str) -> Ranks:
        """Start a site's process; `overrides` are of the run file, A.B=C."""
        stem = self.folder / f"run-{len(self.started)}"
        run_file = stem.with_suffix(".yaml")
        run_file.write_text(yaml.safe_dump(self._tree))
        told = ["--config", str(run_file), "--site", site]
        for override in overrides:
            told += ["--set", override]
        self.started.append(self._nursery.fork(PROGRAM, told, site=site, output=stem))
        return self.started[-1]

    def gate(self, name: str) -> Path:
        """A file that the sites may be told to wait for."""
        return self.folder / name

    def hold(self, site: str) -> None:
        """Have the site wait two steps into a round from now on."""
        self.gate(f"{site}.hold").touch()

    def until_held(self, site: str) -> None:
        """Wait until the site waits there."""
        self.until(self.gate(f"{site}.held").exists, f"{site} held inside a round")

    def release(self, ranks: Ranks) -> None:
        """Let a process that is held go on; one that was killed there leaves nothing behind."""
        held = self.gate(f"{ranks.site}.held")
        self.gate(f"{ranks.site}.hold").unlink()
        self.until(
            lambda: ranks.code is not None or ranks.stopped or not held.exists(), f"{ranks.site} going on"
        )
        held.unlink(missing_ok=True)

    def close(self) -> None:
        """Kill what is left."""
        for ranks in self.started:
            ranks.send(signal.SIGKILL)
        for ranks in self.started:
            ranks.end()

    # What happened

    def events(self, name: str = "", *, of: Ranks | None = None) -> list[Record]:
        """Events of a name (of all names), of a process (of all)."""
        try:
            records = read_events(self.directory)
        except DataError:  # nobody has written any yet
            return []
        return [
            record
            for record in records
            if (not name or record.event == name) and (of is None or record.process == of.stem)
        ]

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Wait for something; a process that failed meanwhile is what the test shows instead."""

        def watched() -> T | None:
            for ranks in self.started:
                assert ranks.code in (None, 0, -signal.SIGKILL), ranks.errors
            return look()

        return wait_for(watched, what)

    def until_ready(self, store: CoordinationStore, site: str) -> None:
        """Wait until a site holds head's state and asks to enter."""

        def look() -> bool:
            entry = store.get(self.keys.member(site))
            return entry is not None and bool(Presence.decode(entry.value).ready)

        self.until(look, f"{site} ready to enter")

    def until_waiting(self, ranks: Ranks) -> None:
        """Wait until a process has done its part of a round and waits for the others."""

        def look() -> bool:
            phases = [record["phase"] for record in self.events("phase", of=ranks)]
            return phases[-1:] == ["idle"]

        self.until(look, f"{ranks.site} waiting at a round's end")

    def until_commit(self, version: int, *, of: Ranks) -> Record:
        """Wait until a process stands on this version or a later one."""

        def look() -> Record | None:
            commits = self.events("commit", of=of)
            return next((record for record in commits if record["version"] >= version), None)

        return self.until(look, f"commit {version} of {of.site}")

    def chain(self) -> dict[int, Record]:
        """The commits by version, once the members' reports of each were found to agree."""
        chain: dict[int, Record] = {}
        for record in self.events("commit"):
            first = chain.setdefault(record["version"], record)
            for key in ("hash", "tokens", "rows", "work", "joiners"):
                assert record[key] == first[key], f"{record.site} and {first.site} differ in {key}"
        assert sorted(chain) == list(range(1, len(chain) + 1)), "a version is missing"
        return chain

    def committed_rows(self) -> list[int]:
        """Row numbers in the order of the chain, a row as often as it was committed."""
        order = RowOrder([ROWS], passes=1, seed=SEED)
        chain = self.chain()
        work = [one for version in sorted(chain) for one in chain[version]["work"]]
        spans = [span for one in work for span in one["rows"]]
        return [order.row(position) for first, last in spans for position in range(first, last)]

    def steps_done(self, ranks: Ranks) -> int:
        """Inner steps that a process did."""
        return sum(record["steps"] for record in self.events("step", of=ranks))

    def steps_committed(self, site: str) -> int:
        """Inner steps of a site that entered the chain."""
        works = [one for record in self.chain().values() for one in record["work"]]
        return sum(one["steps"] for one in works if one["site"] == site)


def sorted_rows(rows: Iterable[int]) -> bool:
    """Whether these are all rows of the data set, each once."""
    return sorted(rows) == list(range(ROWS))
