"""Which columns of a CSV file hold times and intensities: as the run file says, or told by the header."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curtail_dist.errors import TraceError


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where times and values stand in a row."""

    time: int
    value: int
    unit: str = "g/kWh"
    """Of the values, as far as the header tells."""
    basis: Literal["marginal", "average"] = "marginal"


@dataclass(frozen=True, kw_only=True)
class _Style:
    """What somebody writes into a header, in lower case."""

    time: str
    value: str
    """What the name of the value's column begins with."""
    unit: str
    basis: Literal["marginal", "average"]


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
)


def columns_of(path: Path, header: Sequence[str], *, time_column: str, value_column: str) -> Columns:
    """Find the columns; empty names are told by the header. Raises TraceError."""
    if not header:
        raise TraceError(f"trace {path} is empty; it must have a header with a column of times, and rows")
    known = _known(path, header)
    if time_column and value_column:
        time, value = _named(path, header, time_column), _named(path, header, value_column)
        matches = known is not None and known.value == value
        return (
            known if matches and known is not None and known.time == time else Columns(time=time, value=value)
        )
    if known is None:
        raise _unknown(path, header)
    time = _named(path, header, time_column) if time_column else known.time
    if value_column:
        return Columns(time=time, value=_named(path, header, value_column))
    return Columns(time=time, value=known.value, unit=known.unit, basis=known.basis)


def _known(path: Path, header: Sequence[str]) -> Columns | None:
    """Return the columns that one of the styles finds, None where none does."""
    lower = [name.lower() for name in header]
    for style in _STYLES:
        times = [place for place, name in enumerate(lower) if name == style.time]
        values = [place for place, name in enumerate(lower) if name.startswith(style.value)]
        if len(times) > 1 or len(values) > 1:
            raise _unknown(path, header)
        if times and values:
            return Columns(time=times[0], value=values[0], unit=style.unit, basis=style.basis)
    if len(header) == 2 and (not lower[0] or lower[0].startswith("unnamed")):  # pandas writes an index so
        return Columns(time=0, value=1)
    return None


def _named(path: Path, header: Sequence[str], name: str) -> int:
    found = list(header).count(name)
    if found != 1:
        key = "signal.time_column or signal.value_column"
        raise TraceError(
            f"{path} has {found} columns named {name!r}; it must have one. Its columns are {_list(header)}: "
            f"name the right one in {key}"
        )
    return list(header).index(name)


def _unknown(path: Path, header: Sequence[str]) -> TraceError:
    return TraceError(
        f"{path} has the columns {_list(header)}; which are times and intensities must be clear, as with "
        "'time' and 'g_per_kwh': name them in signal.time_column and signal.value_column, and signal.unit"
    )


def _list(header: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in header)
