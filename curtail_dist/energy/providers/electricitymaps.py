"""Electricity Maps, API v3: average intensity of a zone, and its forecast where the plan has one."""

import logging
import urllib.parse
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
from curtail_dist.energy.providers.credentials import Secret
from curtail_dist.energy.providers.pointer import resolve
from curtail_dist.energy.providers.web import get_json

log = logging.getLogger(__name__)

URL = "https://api.electricitymaps.com"
TOKEN = "ELECTRICITYMAPS_TOKEN"
_FORECAST_AGAIN_S = 3600.0


class ElectricityMaps:
    """A zone's average intensity, in g CO2eq/kWh; hourly values, later revised.

    The newest hour that it publishes as having been, measured or estimated (`latest`), is its reading until
    it publishes another. What its forecast says of the hours since is a forecast.
    """

    basis: Basis = "average"

    def __init__(self, config: SignalConfig) -> None:
        """Raises ConfigError where the token is not there."""
        self._config = config
        self._base = f"{(config.url or URL).rstrip('/')}/v3/carbon-intensity"
        self._zone = urllib.parse.urlencode({"zone": config.zone})
        variable = config.token_env or TOKEN
        self._token = Secret("Electricity Maps token", variable=variable, file=config.token_file)
        self._forecast_at: UnixSeconds = 0.0
        self.source = f"Electricity Maps {config.zone}"
        self.every_s = config.every_s or 300.0
        self.stale_s = config.stale_s or 2.5 * 3600.0

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask for the newest value, and for the forecast; what goes wrong with that costs no value."""
        said = self._get("latest")
        reading, entries = self._point(said), list[Any]()
        if now >= self._forecast_at:
            try:
                entries = self._forecast()
            except ProviderFailure as failure:
                again_s = _FORECAST_AGAIN_S if failure.refused else failure.retry_after_s or 0.0
                self._forecast_at = now + again_s
                log.info("%s: no forecast: %s", self.source, failure)
        return Answer.of(reading, map(self._point, entries))

    def _forecast(self) -> list[Any]:
        entries = resolve(self._get("forecast"), "/forecast")
        if not isinstance(entries, list):
            raise ProviderFailure("its forecast is no list")
        return cast("list[Any]", entries)

    @staticmethod
    def _point(entry: Any) -> Point:
        return unix(resolve(entry, "/datetime")), number(resolve(entry, "/carbonIntensity"))

    def _get(self, what: str) -> Any:
        headers = {"auth-token": self._token.read()}
        url = f"{self._base}/{what}?{self._zone}"
        return get_json(url, headers=headers, timeout_s=self._config.timeout_s)
