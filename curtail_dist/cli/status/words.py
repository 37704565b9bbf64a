"""How `curtail status` says moments, spans and figures."""

from datetime import datetime, timedelta
from typing import Any

from curtail_dist.units import Seconds


def span(seconds: Seconds) -> str:
    """Say how long: `12 s`, `5 min`, `3:05 h`."""
    if seconds < 59.5:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def moment(facts: dict[str, Any], t: Seconds) -> str:
    """Say a moment of run time in UTC; in hours after the start where that is not known."""
    if not facts["utc"]:
        return f"{t / 3600:.2f} h"
    when = datetime.fromisoformat(facts["utc"]) - timedelta(seconds=facts["t"] - t)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def figure(value: float | None, form: str) -> str:
    """Return a figure, or `-` for what is not known."""
    return "-" if value is None else format(value, form)


def short(value: float | None) -> str:
    """Return a figure in few characters: `12,345`, `1.23M`."""
    if value is None:
        return "-"
    if value < 1e5:
        return f"{value:,.0f}"
    return f"{value / 1e6:.2f}M" if value < 1e9 else f"{value / 1e9:.2f}G"
