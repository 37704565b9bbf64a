"""The record of a run: typed, versioned events, one JSON object a line, one file a process.

    {"schema":1,"event":"commit","site":"texas","epoch":4,"round":17,"t":38110.0,"wall":"2026-...Z",
    ...fields}

`t` is run time in seconds, `wall` is UTC, `seq` grows by one for each line of a file. A line torn by a
crash is
passed over by the reader if it is the last of its file. Reports, `status`, wandb and Prometheus read events
alone.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from curtail_dist.clock import Timepiece
from curtail_dist.errors import DataError
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; a subclass's name in the record is `NAME`."""

    NAME: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run was founded (version 0), or the demo began. Written once, by whoever founded it."""

    NAME = "run_started"
    run: str
    seed: int
    start: str
    """Run time 0 as UTC, ISO 8601."""
    rows: int
    """Rows in all passes."""
    virtual: bool


@dataclass(frozen=True, kw_only=True)
class SiteStarted(Event):
    """A site's agent began; what its energy is reckoned with."""

    NAME = "site_started"
    train_w: Watts
    idle_w: Watts
    join_w: Watts
    sync_w: Watts
    threshold_g_per_kwh: GramsCO2PerKWh
    leave_delay_s: Seconds
    deadline_s: Seconds
    """Length of the planned period, from run time 0."""
    outlook: list[tuple[Seconds, GramsCO2PerKWh]]
    """The intensity as known at the start, for baselines and the offline bound: (run time from which,
    value)."""
    synthetic: bool
    """Whether the trace says of itself that it is synthetic."""


@dataclass(frozen=True, kw_only=True)
class ReadingSeen(Event):
    """The site's carbon intensity changed."""

    NAME = "reading"
    g_per_kwh: GramsCO2PerKWh
    measured_t: Seconds
    """Run time from which this value holds."""
    source: str


@dataclass(frozen=True, kw_only=True)
class SignalLost(Event):
    """There is no fresh reading."""

    NAME = "signal_lost"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decided(Event):
    """The policy asked for something else than before."""

    NAME = "decided"
    action: str
    """`start`, `keep` or `drain`."""
    reason: str
    g_per_kwh: GramsCO2PerKWh | None


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """From now on the site is in this phase, until its next `phase`. The basis of its energy."""

    NAME = "phase"
    phase: str
    """`off`, `join`, `idle`, `train` or `sync`."""


@dataclass(frozen=True, kw_only=True)
class RanksStarted(Event):
    """The provisioner started the site's ranks."""

    NAME = "ranks_started"
    pid: int


@dataclass(frozen=True, kw_only=True)
class RanksExited(Event):
    """The site's ranks are gone."""

    NAME = "ranks_exited"
    code: int


@dataclass(frozen=True, kw_only=True)
class RanksDied(Event):
    """The site's ranks died without leaving: a death, not a drain."""

    NAME = "ranks_died"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Joined(Event):
    """The site holds the run's state and is a member."""

    NAME = "joined"
    version: int
    how: str
    """`founded` (version 0), `resumed` (from a snapshot, after the dark) or `pulled` (from a peer)."""
    wall_s: Seconds
    """Real time from the rank program's start."""


@dataclass(frozen=True, kw_only=True)
class EpochFormed(Event):
    """A member entered a new epoch's group."""

    NAME = "epoch"
    members: list[str]
    reason: str
    """`founded`, `joined`, `left`, `lost` or `rewound`."""


@dataclass(frozen=True, kw_only=True)
class RoundStarted(Event):
    """A member began a round."""

    NAME = "round_started"
    steps: int
    """Inner steps this member is to do."""
    rows: list[list[int]]
    """Positions of the rows reserved for it: [[first, last+1], ...]."""


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """Inner steps were done."""

    NAME = "step"
    steps: int
    """Inner steps since the last such event."""
    tokens: int
    rows: int
    """Rows taken since the round began. A process whose record ends after this without a `commit`, a
    `round_discarded` or a `drained` was killed: these rows went back to the pool, these steps are lost."""
    loss: float
    """Training loss of the last of them, nats per token."""


@dataclass(frozen=True, kw_only=True)
class PeerMissed(Event):
    """A member did not answer."""

    NAME = "peer_missed"
    peer: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Committed(Event):
    """A member swapped to a new version. Every member writes one; all but its last three fields agree."""

    NAME = "commit"
    version: int
    hash: str
    tokens: int
    """Tokens in the whole chain."""
    rows: int
    """Rows done in the whole chain."""
    work: list[dict[str, Any]]
    """What each contributor did: {"site", "tokens", "steps", "rows": [[first, last+1], ...]}, positions in
    the run's row order (passes follow each other)."""
    joiners: list[str]
    loss: float | None
    """Mean training loss of this member's round."""
    bytes_sent: int
    """Bytes this member sent: cards, votes, pseudo-gradients."""
    stall_s: Seconds
    """Real time of this member in which no inner step ran, from the end of its last step to the swap."""


@dataclass(frozen=True, kw_only=True)
class RoundDiscarded(Event):
    """A living site threw its open round away; the rows are back in the pool. Killed ones: see `step`."""

    NAME = "round_discarded"
    steps: int
    rows: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Drained(Event):
    """The site left in order."""

    NAME = "drained"
    version: int


@dataclass(frozen=True, kw_only=True)
class Snapshot(Event):
    """A snapshot is durable."""

    NAME = "snapshot"
    version: int
    hash: str
    size_bytes: int
    wall_s: Seconds


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """Bits per byte on the held-out split."""

    NAME = "evaluated"
    version: int
    val_bpb: float


@dataclass(frozen=True, kw_only=True)
class FaultInjected(Event):
    """Somebody broke something on purpose."""

    NAME = "fault"
    kind: str
    target: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """All rows of all passes are done. Every member writes one."""

    NAME = "run_finished"
    version: int
    hash: str
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the record, read back."""

    event: str
    site: str
    epoch: int
    round: int
    t: Seconds
    wall: datetime
    seq: int
    process: str
    """The file's process part, so that lines of one process can be told from another's."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __getitem__(self, name: str) -> Any:
        """Return a field of the event."""
        return self.fields[name]


class EventLog:
    """Appends one process's events to `directory/events/<site>.<process>.jsonl`; thread-safe.

    Owned by that process. `epoch` and `round` are stamped on each line; their owner sets them with `place`.
    """

    def __init__(self, directory: Path, *, site: str, process: str, clock: Timepiece) -> None:
        """Open for appending; `process` is unique in the run (a role and a pid, say)."""
        folder = directory / "events"
        folder.mkdir(parents=True, exist_ok=True)
        self.site = site
        self._clock = clock
        self._lock = threading.Lock()
        self._seq = 0
        self._epoch = 0
        self._round = 0
        self._file = (folder / f"{site}.{process}.jsonl").open("a", encoding="utf-8", buffering=1)

    def place(self, *, epoch: int | None = None, round: int | None = None) -> None:
        """Stamp further events with this epoch, this round, or both."""
        with self._lock:
            self._epoch = self._epoch if epoch is None else epoch
            self._round = self._round if round is None else round

    def emit(self, event: Event) -> None:
        """Append one event; it has reached the operating system when this returns."""
        now = self._clock.now()
        with self._lock:
            line: dict[str, Any] = {
                "schema": SCHEMA,
                "event": event.NAME,
                "site": self.site,
                "epoch": self._epoch,
                "round": self._round,
                "t": now,
                "wall": datetime.now(UTC).isoformat(),
                "seq": self._seq,
                **asdict(event),
            }
            self._seq += 1
            if not self._file.closed:
                self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


_STAMPS = {"schema", "event", "site", "epoch", "round", "t", "wall", "seq"}


def read_events(*directories: Path) -> list[Record]:
    """Read the records of one run from one or more run directories, in order of run time, then of wall time.

    Raises DataError for a line that is not an event, unless it is the torn last line of a file.
    """
    records: list[Record] = []
    for directory in directories:
        files = sorted((directory / "events").glob("*.jsonl"))
        if not files:
            raise DataError(f"{directory} holds no events/*.jsonl; give the directory of a run")
        for file in files:
            records.extend(read_file(file))
    return sorted(records, key=lambda record: (record.t, record.wall, record.process, record.seq))


def read_file(file: Path) -> Iterator[Record]:
    """Read one process's events in the order they were written."""
    process = file.stem.partition(".")[2]
    lines = file.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            raw = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                return
            raise DataError(
                f"{file}:{number + 1} is not an event; the file was changed by something else"
            ) from error
        yield parse(raw, process=process, place=f"{file}:{number + 1}")


def parse(raw: Mapping[str, Any], *, process: str, place: str) -> Record:
    """Turn one decoded line into a Record. Raises DataError for another schema."""
    if raw.get("schema") != SCHEMA:
        raise DataError(f"{place} has schema {raw.get('schema')!r}; this version reads {SCHEMA}")
    return Record(
        event=raw["event"],
        site=raw["site"],
        epoch=raw["epoch"],
        round=raw["round"],
        t=raw["t"],
        wall=datetime.fromisoformat(raw["wall"]),
        seq=raw["seq"],
        process=process,
        fields={key: value for key, value in raw.items() if key not in _STAMPS},
    )
