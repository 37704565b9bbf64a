"""WattTime v3 through its official client: marginal emissions of a region, forecast to 72 h ahead."""

import logging
import os
from datetime import datetime, timedelta
from itertools import takewhile
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
from curtail_dist.energy.providers.web import refusal
from curtail_dist.errors import ConfigError

USER = "WATTTIME_USER"
_HOURS = 72
_TOKEN_LASTS = timedelta(minutes=30)


class WattTime:
    """A region's marginal operating emissions rate (`co2_moer`), all of it modelled, in points of 5 min.

    There is one list, in order of time, which begins when it was made, every few minutes. Its point of the
    moment at which it is asked for is what WattTime publishes of now, its reading; those after it are its
    forecast.
    """

    basis: Basis = "marginal"

    def __init__(self, config: SignalConfig) -> None:
        """Raises ConfigError where the client is not installed, or an account or password is missing."""
        self._region = config.region
        self._user = config.user or os.environ.get(USER, "")
        if not self._user:
            raise ConfigError(f"signal.user is missing; give the WattTime account there or in {USER}")
        self._password = Secret("WattTime password", variable=config.password_env, file=config.password_file)
        self._client = _client(self, config)
        self.source = f"WattTime co2_moer {config.region}"
        self.every_s = config.every_s or 300.0
        self.stale_s = config.stale_s or 1200.0

    def ask(self, now: UnixSeconds) -> Answer:
        """Ask for the newest list; a token that is not taken any more is replaced, once."""
        try:
            said = self._forecast()
        except ProviderFailure as failure:
            if not failure.refused:
                raise
            self._client.token_valid_until = None
            said = self._forecast()
        units = resolve(said, "/meta/units")
        if units != "lbs_co2_per_mwh":
            raise ProviderFailure("its values are in another unit; they must be in lbs_co2_per_mwh")
        points = resolve(said, "/data")
        if not isinstance(points, list) or not points:
            raise ProviderFailure("it answers, but with no list of values")
        first, *later = cast("list[Any]", points)
        begun = [first, *takewhile(lambda point: _begun(point, now), later)]
        expected = map(_read, later[len(begun) - 1 :])
        return Answer.of(_read(begun[-1]), expected, made_at=unix(resolve(first, "/point_time")))

    def login(self, client: Any) -> None:
        """Get a token; the client's own way takes credentials from the environment alone."""
        answer = client.session.get(f"{client.url_base}/login", auth=(self._user, self._password.read()))
        answer.raise_for_status()
        client.token = str(resolve(answer.json(), "/token"))
        client.headers = {"Authorization": f"Bearer {client.token}"}
        client.token_valid_until = datetime.now() + _TOKEN_LASTS  # noqa: DTZ005 - compared so by the client

    def _forecast(self) -> Any:
        import requests

        try:
            return self._client.get_forecast_json(self._region, "co2_moer", horizon_hours=_HOURS)
        except (RuntimeError, requests.RequestException) as error:
            cause = error if isinstance(error, requests.RequestException) else error.__cause__
            answer = getattr(cause, "response", None)
            if answer is not None:
                headers = answer.headers
                sent = headers.get("Date")
                raise refusal(answer.status_code, headers.get("Retry-After"), sent=sent) from None
            if isinstance(cause, requests.JSONDecodeError):
                raise ProviderFailure("it answers with something that is no JSON") from None
            raise ProviderFailure(f"it does not answer ({type(cause).__name__})") from None


def _read(point: Any) -> Point:
    return unix(resolve(point, "/point_time")), number(resolve(point, "/value")) * UNITS["lb/MWh"]


def _begun(point: Any, now: UnixSeconds) -> bool:
    """Whether a point's moment has come; of one that cannot be read it has not."""
    try:
        return unix(resolve(point, "/point_time")) <= now
    except ProviderFailure:
        return False


def _client(own: WattTime, config: SignalConfig) -> Any:
    """Make the official client, with our timeouts and retries, its credentials not in the environment."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        from requests.adapters import HTTPAdapter
        from watttime import WattTimeForecast  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise ConfigError(
            "signal.kind is watttime and its client is not installed; pip install 'curtail-dist[watttime]'"
        ) from error
    finally:  # importing the client sets up logging for everybody
        root.handlers[:], root.level = handlers, level

    class Adapter(HTTPAdapter):
        """Waits as the run file says; failures are told at once, and tried again by who asks."""

        def send(self, request: Any, *args: Any, **given: Any) -> Any:
            given["timeout"] = config.timeout_s
            return super().send(request, *args, **given)

    class Client(WattTimeForecast):
        """The client, with the provider's login."""

        def _login(self) -> None:
            own.login(self)

    client = Client()
    client.url_base = (config.url or client.url_base).rstrip("/")
    for scheme in ("http://", "https://"):
        client.session.mount(scheme, Adapter())
    return client
