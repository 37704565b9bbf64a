"""Reads a carbon-intensity trace from a CSV file, and refuses what is not one.

    # synthetic: ...            optional comment lines; this one says that the trace was made up
    time,g_per_kwh
    2026-03-21T17:00:00+00:00,312.5

A row's value holds until the next row, over a gap, too (`Trace.gaps` tells of those); the last one holds as
long as the one before it did. Times without an
offset are UTC. Where the run file names no columns they are told by the header: those above, what WattTime
and Electricity Maps write (`columns`), or Vessim's, an index without a name and one column of values.
"""

import csv
import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from curtail_dist.config.signals import UNITS, Basis
from curtail_dist.energy.columns import Columns, columns_of, told_by
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import TraceError
from curtail_dist.units import GramsCO2PerKWh

_REGULAR = 0.9
"""Share of the rows that are equally far apart in a file whose rows come by the clock."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The rows of a trace."""

    path: Path
    times: tuple[datetime, ...]
    """Aware, rising, at least two."""
    values: tuple[GramsCO2PerKWh, ...]
    """One for each time; finite, at least 0."""
    synthetic: bool
    """Whether a leading comment says so."""
    basis: Basis = "marginal"
    """What its columns are known to hold; marginal where nothing is known."""

    @property
    def end(self) -> datetime:
        """The first moment that the trace does not cover."""
        return self.times[-1] + (self.times[-1] - self.times[-2])

    @property
    def usual_step(self) -> timedelta | None:
        """How far its rows are apart, but for a few; None where they come as they change."""
        steps = Counter(after - before for before, after in pairwise(self.times))
        step, count = steps.most_common(1)[0]
        return step if count >= _REGULAR * steps.total() else None

    @property
    def gaps(self) -> list[tuple[datetime, datetime]]:
        """Where rows are missing: from when the last one before should have ended to the next one."""
        step = self.usual_step
        if step is None:
            return []
        return [(a + step, b) for a, b in pairwise(self.times) if b - a >= 2 * step]

    def series(self, start: datetime) -> StepFunction:
        """Return the trace over run time, where `start` (aware) is 0."""
        edges = tuple((at - start).total_seconds() for at in (*self.times, self.end))
        return StepFunction(edges=edges, values=self.values)


def read_trace(path: Path, *, time_column: str = "", value_column: str = "", unit: str = "") -> Trace:
    """Read a trace.

    Args:
        path: The file.
        time_column: Column with the times; empty: told by the header.
        value_column: Column with the values; empty: told by the header, together with their unit.
        unit: One of config.signals.UNITS; empty: that of the recognised columns, else g/kWh.

    Raises:
        TraceError: with the file, the line or column, and what to do.
    """
    rows = read_rows(path, time_column=time_column, value_column=value_column)
    factor = UNITS[unit or rows.columns.unit]
    return Trace(
        path=path,
        times=rows.times,
        values=tuple(value * factor for value in rows.values),
        synthetic=rows.synthetic,
        basis=rows.columns.basis,
    )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a CSV file of times and numbers holds: at least two rows, times rising."""

    columns: Columns
    times: tuple[datetime, ...]
    values: tuple[float, ...]
    synthetic: bool


def read_rows(path: Path, *, time_column: str, value_column: str, lowest: float = 0.0) -> Rows:
    """Read a file's rows, whatever its values mean; none may be below `lowest`. Raises TraceError."""
    lines = _lines(path)
    comments = 0
    while comments < len(lines) and lines[comments].lstrip().startswith("#"):
        comments += 1
    synthetic = any(line.lstrip("# \t").lower().startswith("synthetic") for line in lines[:comments])
    columns, times, values = _read(path, lines[comments:], comments, (time_column, value_column), lowest)
    if len(times) < 2:
        raise TraceError(
            f"{path} has {len(times)} rows below its header; it must have at least 2: give more rows"
        )
    return Rows(columns=columns, times=tuple(times), values=tuple(values), synthetic=synthetic)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise TraceError(
            f"{path} cannot be read ({error.strerror}); path must name an existing CSV file"
        ) from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not UTF-8 text; save it as a UTF-8 CSV file") from error


def _read(
    path: Path, lines: list[str], skipped: int, names: tuple[str, str], lowest: float
) -> tuple[Columns, list[datetime], list[float]]:
    reader = csv.reader(lines)
    times: list[datetime] = []
    values: list[float] = []
    kinds: set[str] = set()
    try:
        header = [name.strip() for name in next(reader, list[str]())]
        columns = columns_of(path, header, time_column=names[0], value_column=names[1])
        at, of, kind = columns.time, columns.value, columns.signal_type
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path}:{reader.line_num + skipped}"
            if len(row) <= max(at, of, kind or 0):
                raise TraceError(
                    f"{place} has {len(row)} cells; it must have those of {', '.join(header)}: "
                    "complete or drop the row"
                )
            times.append(_time(row[at].strip(), place, header[at], times[-1] if times else None))
            values.append(_value(row[of].strip(), place, header[of], lowest))
            if kind is not None:
                kinds.add(row[kind].strip())
    except csv.Error as error:
        raise TraceError(f"{path}:{reader.line_num + skipped} is not CSV ({error}); mend the line") from error
    return told_by(columns, kinds, path) if times else columns, times, values


def _time(text: str, place: str, column: str, before: datetime | None) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise TraceError(
            f"{place}: {column} is {text!r}; it must be an ISO 8601 time such as 2026-03-21T17:00:00+00:00"
        ) from error
    local = parsed.tzinfo is None
    parsed = (parsed.replace(tzinfo=UTC) if local else parsed).astimezone(UTC)
    if before is not None and parsed <= before:
        how = "again" if parsed == before else f"after {before.isoformat()}"
        hint = "; it names no zone and is taken for UTC: local times go back once a year" if local else ""
        raise TraceError(
            f"{place}: {column} is {text} {how}; times must rise: sort the rows, one for each time{hint}"
        )
    return parsed


def _value(text: str, place: str, column: str, lowest: float) -> float:
    try:
        parsed = float(text)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed) or parsed < lowest:
        raise TraceError(
            f"{place}: {column} is {text!r}; it must be a number{_at_least(lowest)}: mend or drop the row"
        )
    return parsed


def _at_least(lowest: float) -> str:
    return f", at least {lowest:g}" if math.isfinite(lowest) else ""
