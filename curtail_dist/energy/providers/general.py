"""Servers of one's own: any JSON over HTTP, a Prometheus query, Vessim's REST service."""

import urllib.parse
from collections.abc import Iterator
from typing import Any, cast

from curtail_dist.config.signals import UNITS, Basis, SignalConfig
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
from curtail_dist.energy.providers.web import get_json, shown


class _Own:
    """What these three share. They are asked every minute, and what is older than 15 says nothing of now."""

    def __init__(self, config: SignalConfig, source: str) -> None:
        self._config = config
        self._factor = UNITS[config.unit or "g/kWh"]
        self.source = source
        self.basis: Basis = "average" if config.basis == "average" else "marginal"
        self.every_s = config.every_s or 60.0
        self.stale_s = config.stale_s or 900.0


class JsonProvider(_Own):
    """Any JSON over HTTP: pointers say where its value, time and forecast stand.

    Its value is its reading, however old, until it gives another; the forecast's entries are its forecast.
    """

    def __init__(self, config: SignalConfig) -> None:
        """Raises ConfigError where a header's variable is not set."""
        super().__init__(config, shown(config.url))
        self._headers = {
            name: Secret(f"value of the header {name}", variable=variable)
            for name, variable in config.headers.items()
        }

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask once."""
        config = self._config
        headers = {name: secret.read() for name, secret in self._headers.items()}
        said = get_json(config.url, headers=headers, timeout_s=config.timeout_s)
        at = unix(resolve(said, config.time_at)) if config.time_at else now
        return Answer.of((at, number(resolve(said, config.value_at)) * self._factor), self._forecast(said))

    def _forecast(self, said: Any) -> Iterator[Point]:
        config = self._config
        if not config.forecast_at:
            return
        entries = resolve(said, config.forecast_at)
        if not isinstance(entries, list):
            raise ProviderFailure(f"its answer has no list at {config.forecast_at}")
        for entry in cast("list[Any]", entries):
            at = unix(resolve(entry, config.forecast_time_at))
            yield at, number(resolve(entry, config.forecast_value_at)) * self._factor


class PrometheusProvider(_Own):
    """An instant query that gives one number."""

    def __init__(self, config: SignalConfig) -> None:
        """Raises ConfigError where its token is not there."""
        super().__init__(config, f"Prometheus query {config.query} at {shown(config.url)}")
        given = config.token_env or config.token_file
        self._token = (
            Secret("Prometheus token", variable=config.token_env, file=config.token_file) if given else None
        )

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask once."""
        del now
        text = urllib.parse.urlencode({"query": self._config.query})
        url = f"{self._config.url.rstrip('/')}/api/v1/query?{text}"
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token.read()}"}
        said = get_json(url, headers=headers, timeout_s=self._config.timeout_s)
        kind = resolve(said, "/data/resultType")
        if kind not in ("scalar", "vector"):
            raise ProviderFailure(f"its query gives a {kind}; it must give a number: leave the range out")
        result = resolve(said, "/data/result")
        if kind == "vector":
            if len(result) != 1:
                raise ProviderFailure(
                    f"its query gives {len(result)} series; it must give one: aggregate them, by max() say"
                )
            result = resolve(result, "/0/value")
        return Answer.of((unix(resolve(result, "/0")), number(resolve(result, "/1")) * self._factor))


class VessimProvider(_Own):
    """A named grid signal of a microgrid at Vessim's REST service: what the published prototype polled.

    Its times are those of Vessim's simulation, of any day: an answer counts as one of now. The service goes
    on answering after its simulation has ended, with the last state. So nothing counts before its time was
    seen to move, and a value is as old as the last move.
    """

    def __init__(self, config: SignalConfig, site: str) -> None:
        """Ask for the microgrid that the run file names, else for that of the site's name."""
        name = config.microgrid_name or site
        self._url = f"{config.url.rstrip('/')}/microgrids/{urllib.parse.quote(name, safe='')}"
        super().__init__(config, f"grid signal {config.grid_signal} at {shown(self._url)}")
        self._time: Any = None
        self._moved_at: UnixSeconds | None = None

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask once."""
        said = get_json(self._url, timeout_s=self._config.timeout_s)
        signals = resolve(said, "/grid_signals")
        if not isinstance(signals, dict) or self._config.grid_signal not in signals:
            names = ", ".join(sorted(map(str, signals))) if isinstance(signals, dict) else "none"  # pyright: ignore[reportUnknownArgumentType]
            raise ProviderFailure(f"it has no grid signal {self._config.grid_signal}; it has: {names}")
        before, self._time = self._time, resolve(said, "/time")
        if before is not None and self._time != before:
            self._moved_at = now
        if self._moved_at is None:
            raise ProviderFailure("it answers, but its simulation was not seen to go on yet")
        if now - self._moved_at > self.stale_s:
            self._moved_at = None  # whoever starts it anew has to be seen to
            raise ProviderFailure(f"it answers, but its simulation has stood still for {self.stale_s:g} s")
        value = number(signals[self._config.grid_signal]) * self._factor  # pyright: ignore[reportUnknownArgumentType]
        return Answer.of((self._moved_at, value))
