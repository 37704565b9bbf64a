"""The events of a run as lines to read, the newest of them kept."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from curtail_dist.report.lines import Teller, printable
from curtail_dist.telemetry.record import Record

KEPT = 10_000
"""Lines kept of those that are notable, and as many of the others: these would push out those."""
CHATTER = frozenset(
    {"step", "reading", "phase", "round_started", "throughput", "energy", "planned", "snapshot", "fetched"}
)
"""Kinds that come with every round or reading."""
MOST_CHARACTERS = 400
QUIET = frozenset({"hash", "parent", "outlook", "average", "work", "rows", "texts"})
"""Fields that are long and that nobody reads in a line."""


class Line(NamedTuple):
    """One line; it goes to the page as the list that it is."""

    no: int
    """Rises with every event."""
    t: float
    site: str
    kind: str
    text: str
    notable: bool


class Entry:
    """An event that is kept. Its line is made when it is first asked for: most events never are."""

    __slots__ = ("_line", "_record", "no", "rev")

    def __init__(self, no: int, record: Record, *, rev: int) -> None:
        """Keep an event that came as the `no`-th, with revision `rev` of the board."""
        self.no = no
        self.rev = rev
        self._record: Record | None = record
        self._line: Line | None = None

    def line(self) -> Line:
        """Return what it says."""
        record = self._record
        if record is not None:
            notable = record.event not in CHATTER
            kind, site = printable(record.event), printable(record.site)
            self._line = Line(self.no, record.t, site, kind, _text(record), notable)
            self._record = None
        assert self._line is not None
        return self._line


class Log:
    """Keeps the newest events. Owned by a board."""

    def __init__(self) -> None:
        """Empty."""
        self.count = 0
        self._notable: deque[Entry] = deque(maxlen=KEPT)
        self._chatter: deque[Entry] = deque(maxlen=KEPT)

    def add(self, record: Record, *, rev: int) -> None:
        """Append an event."""
        self.count += 1
        kept = self._chatter if record.event in CHATTER else self._notable
        kept.append(Entry(self.count, record, rev=rev))

    def since(self, rev: int) -> list[Entry]:
        """Return the events that came after a revision, newest first."""
        return list(merge(_after(self._notable, rev), _after(self._chatter, rev), key=lambda e: -e.no))


def _after(kept: deque[Entry], rev: int) -> Iterator[Entry]:
    for entry in reversed(kept):
        if entry.rev <= rev:
            return
        yield entry


_SAID: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "stage": lambda told: f"{told['was']} to {told['stage']}: {told['reason']}",
    "evaluated": lambda told: f"{told['val_bpb']:.4f} bits per byte held out, version {told['version']}",
    "ranks_exited": lambda told: f"its ranks are gone, exit code {told['code']}",
    "ranks_started": lambda told: f"its ranks are started, process {told['pid']}",
}
"""What the teller of the terminal is silent about."""


def _text(record: Record) -> str:
    if record.event in CHATTER:
        return _fields(record.fields)
    try:
        if record.event in _SAID:
            return _short(_SAID[record.event](record.fields))
        # A teller of its own, since here what every member records is told of every member.
        line = Teller(commit_every=1).told(record)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ):  # a field is missing or of another type
        line = None
    if line is None:
        return _fields(record.fields)
    return _short(line)


def _fields(fields: Mapping[str, Any]) -> str:
    told = (f"{name} {_value(value)}" for name, value in fields.items() if name not in QUIET)
    return _short(", ".join(islice(told, 12)))


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_value(one)}" for key, one in islice(value.items(), 12)) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_value(one) for one in islice(value, 12)) or "none"
    return "unknown" if value is None else str(value)[:MOST_CHARACTERS]


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
