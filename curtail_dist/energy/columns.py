"""Which columns of a CSV file hold times and intensities: as the run file says, or told by the header."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from curtail_dist.config.signals import Basis
from curtail_dist.errors import TraceError


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where times and values stand in a row."""

    time: int
    value: int
    unit: str = "g/kWh"
    """Of the values, as far as the header tells."""
    basis: Basis = "marginal"
    signal_type: int | None = None
    """Where WattTime says what a row's value is."""


@dataclass(frozen=True, kw_only=True)
class _Style:
    """What somebody writes into a header, in lower case."""

    time: str
    value: str
    """What the name of the value's column begins with."""
    unit: str
    basis: Basis


_STYLES = (
    _Style(time="time", value="g_per_kwh", unit="g/kWh", basis="marginal"),
    # WattTime's co2_moer: lbs of CO2 per MWh.
    _Style(time="point_time", value="value", unit="lb/MWh", basis="marginal"),
    # Electricity Maps: g of CO2 equivalent per kWh, direct or life cycle; the latter is what its API gives.
    _Style(
        time="datetime (utc)",
        value="carbon intensity gco\u2082eq/kwh (life cycle)",
        unit="g/kWh",
        basis="average",
    ),
    _Style(
        time="datetime (utc)",
        value="carbon intensity gco\u2082eq/kwh (lca)",
        unit="g/kWh",
        basis="average",
    ),
    _Style(
        time="datetime (utc)",
        value="carbon intensity gco\u2082eq/kwh (direct)",
        unit="g/kWh",
        basis="average",
    ),
)
_SIGNALS: Mapping[str, Basis] = {"co2_moer": "marginal", "co2_aoer": "average"}
"""WattTime's signals that are carbon intensities."""


def columns_of(path: Path, header: Sequence[str], *, time_column: str, value_column: str) -> Columns:
    """Find the columns; empty names are told by the header. Raises TraceError.

    Where only the value's is named, times stand in the column that a known style has them in, else in the
    first, as in Vessim's files. A column that is named and known keeps its unit.
    """
    if not header:
        raise TraceError(f"{path} is empty; it must have a header with a column of times, and rows")
    if not value_column:
        known = _known(path, header, _times(path, header, time_column), named=bool(time_column))
        if known is None:
            raise _unknown(path, header)
        return known
    times = _times(path, header, time_column)
    time, value = times[0] if times else 0, _named(path, header, value_column)
    return next(
        (found for style in _STYLES if (found := _fits(style, header, time, value, bool(time_column)))),
        Columns(time=time, value=value),
    )


def told_by(columns: Columns, kinds: Set[str], path: Path) -> Columns:
    """Return the columns with the basis that WattTime's `kinds` of rows have.

    Raises TraceError where they are of several kinds, or of one that is no carbon intensity.
    """
    if columns.signal_type is None:
        return columns
    basis = _SIGNALS.get(next(iter(kinds))) if len(kinds) == 1 else None
    if basis is None:
        raise TraceError(
            f"{path} has rows of signal_type {_list(sorted(kinds))}; all must be of one of "
            f"{_list(list(_SIGNALS))}: keep only those"
        )
    return replace(columns, basis=basis)


def _times(path: Path, header: Sequence[str], name: str) -> list[int]:
    """Return where times stand: as named, else what is known by its name, which may be nothing."""
    if name:
        return [_named(path, header, name)]
    known = {style.time for style in _STYLES}
    found = [place for place, column in enumerate(header) if column.lower() in known]
    if len(found) > 1:
        raise _unknown(path, header)
    return found


def _known(path: Path, header: Sequence[str], times: Sequence[int], *, named: bool) -> Columns | None:
    """Return the columns that one of the styles finds, None where none does."""
    for style in _STYLES:
        found = [
            fit
            for time in times
            for value in range(len(header))
            if (fit := _fits(style, header, time, value, named))
        ]
        if len(found) > 1:
            raise _unknown(path, header)
        if found:
            return found[0]
    index = header[0].lower()
    if len(header) == 2 and (not index or index.startswith("unnamed")):  # pandas writes an index so
        return Columns(time=0, value=1)
    return None


def _fits(style: _Style, header: Sequence[str], time: int, value: int, named: bool) -> Columns | None:
    """Return these two columns if they are of a style, else None.

    Where times were `named` the value's name is enough, unless it is one that anybody might give.
    """
    right = header[time].lower() == style.time or (named and style.value != "value")
    if not right or not header[value].lower().startswith(style.value):
        return None
    lower = [name.lower() for name in header]
    kinds = lower.index("signal_type") if style.unit == "lb/MWh" and "signal_type" in lower else None
    return Columns(time=time, value=value, unit=style.unit, basis=style.basis, signal_type=kinds)


def _named(path: Path, header: Sequence[str], name: str) -> int:
    found = list(header).count(name)
    if found != 1:
        raise TraceError(
            f"{path} has {found} columns named {name!r}; it must have one. Its columns are {_list(header)}: "
            "name the right one in time_column or value_column, beside its path in the run file"
        )
    return list(header).index(name)


def _unknown(path: Path, header: Sequence[str]) -> TraceError:
    return TraceError(
        f"{path} has the columns {_list(header)}; which are times and intensities must be clear, as with "
        "'time' and 'g_per_kwh': name them in time_column and value_column, and give unit"
    )


def _list(header: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in header)
