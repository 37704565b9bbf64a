"""The Carbon Intensity API of Great Britain: average intensity by half-hour, 48 h ahead, without a key."""

import urllib.parse
from datetime import UTC, datetime
from itertools import dropwhile
from typing import Any, cast

from curtail_dist.config.signals import Basis, SignalConfig
from curtail_dist.energy.providers.answers import (
    Answer,
    Point,
    ProviderFailure,
    UnixSeconds,
    number,
    unix,
)
from curtail_dist.energy.providers.pointer import resolve
from curtail_dist.energy.providers.web import get_json

URL = "https://api.carbonintensity.org.uk"


class CarbonIntensity:
    """The country's intensity, or that of a postcode's region, by half-hour.

    Of a half-hour that is under way it publishes what it estimates (`forecast`), and what was (`actual`) once
    that is known: either is its reading. Those that have not begun are its forecast.
    """

    basis: Basis = "average"

    def __init__(self, config: SignalConfig) -> None:
        """Ask for the postcode's region, where there is one."""
        self._config = config
        self._url = (config.url or URL).rstrip("/")
        where = f", region of {config.postcode}" if config.postcode else ""
        self.source = f"Carbon Intensity API, Great Britain{where}"
        self.every_s = config.every_s or 300.0
        self.stale_s = config.stale_s or 3600.0

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask once for the half-hour of now and the 48 h after it."""
        since = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%MZ}"
        if self._config.postcode:
            code = urllib.parse.quote(self._config.postcode, safe="")
            said = get_json(
                f"{self._url}/regional/intensity/{since}/fw48h/postcode/{code}",
                timeout_s=self._config.timeout_s,
            )
            entries = resolve(said, "/data/data")
        else:
            said = get_json(f"{self._url}/intensity/{since}/fw48h", timeout_s=self._config.timeout_s)
            entries = resolve(said, "/data")
        if not isinstance(entries, list):
            raise ProviderFailure("its data is no list")
        rest = dropwhile(lambda entry: unix(resolve(entry, "/to")) <= now, cast("list[Any]", entries))
        first = next(rest, None)
        if first is None:
            raise ProviderFailure("it answers, but with no value for now")
        return Answer.of(self._entry(first), map(self._entry, rest))

    @staticmethod
    def _entry(entry: Any) -> Point:
        intensity = resolve(entry, "/intensity")
        actual = cast("dict[str, Any]", intensity).get("actual") if isinstance(intensity, dict) else None
        value = actual if actual is not None else resolve(intensity, "/forecast")
        return unix(resolve(entry, "/from")), number(value)
