"""Energy by a Prometheus query: a counter of joules (DCGM, a PDU), or a power that is integrated."""

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, cast

from curtail_dist.clock import Timepiece
from curtail_dist.energy.meters.area import Area
from curtail_dist.energy.meters.rising import Rising
from curtail_dist.errors import ConfigError, MeterUnavailable
from curtail_dist.units import Joules, Seconds

_JOULES = {"joules": 1.0, "millijoules": 1e-3}
_MAX_REPLY_BYTES = 1 << 20
_MAX_SHOWN = 200


class PrometheusQuery:
    """One instant query, asked again and again."""

    def __init__(self, *, url: str, query: str, timeout_s: Seconds, token_env: str = "") -> None:
        """Prepare; nothing is sent.

        Args:
            url: The server.
            query: PromQL that gives a scalar or an instant vector.
            timeout_s: Real time that each step of a request may take.
            token_env: Environment variable with a bearer token; empty: none is sent.

        Raises:
            ConfigError: The token is not there.
        """
        self._timeout_s = timeout_s
        text = urllib.parse.urlencode({"query": query})
        self._request = urllib.request.Request(f"{url.rstrip('/')}/api/v1/query?{text}")
        if token_env:
            token = os.environ.get(token_env, "")
            if not token:
                raise ConfigError(f"meter.token_env is {token_env} and it is not set; set it to the token")
            # Unredirected: a server that sends us elsewhere does not make us show the token there.
            self._request.add_unredirected_header("Authorization", f"Bearer {token}")

    def ask(self) -> dict[str, float]:
        """Return the value of each series by its labels. Raises MeterUnavailable."""
        try:
            with urllib.request.urlopen(self._request, timeout=self._timeout_s) as reply:
                body = reply.read(_MAX_REPLY_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(_MAX_SHOWN).decode("utf-8", "replace")
            raise MeterUnavailable(f"Prometheus answers {error.code} {error.reason}: {said}") from error
        except (OSError, http.client.HTTPException) as error:
            raise MeterUnavailable(f"Prometheus does not answer: {error}") from error
        return _series(body)


class PrometheusMeter:
    """What a query says was drawn: every series watched for itself, all added up."""

    def __init__(
        self,
        query: PrometheusQuery,
        *,
        unit: str,
        clock: Timepiece,
        max_gap_s: Seconds,
        name: str,
        covers: str,
    ) -> None:
        """Read `query`; nothing is asked before the first reading.

        Args:
            query: What to ask.
            unit: `joules` or `millijoules` for a counter, `watts` for a power.
            clock: Tells the time between readings; stays its owner's.
            max_gap_s: Longest such time over which the energy is known.
            name: What `source` says.
            covers: What `covers` says.
        """
        self._query = query
        self._joules = _JOULES.get(unit)
        self._clock = clock
        self._name = name
        self._covers = covers
        what = f"the series of {name}"
        self._rising = Rising(what=what, max_gap_s=max_gap_s)
        self._area = Area(what=what, max_gap_s=max_gap_s)

    @property
    def source(self) -> str:
        """The server and the query."""
        return self._name

    @property
    def covers(self) -> str:
        """What the run file says."""
        return self._covers

    @property
    def stated(self) -> Joules:
        """Nothing: all is measured."""
        return 0.0

    def read(self) -> Joules:
        """Ask once, and return what was drawn since the first reading; see Meter."""
        values, now = self._query.ask(), self._clock.now()
        if self._joules is None:
            return self._area.advance(values, now)
        factor = self._joules
        return self._rising.advance({name: value * factor for name, value in values.items()}, now)

    def close(self) -> None:
        """Nothing to let go of."""


def _series(body: bytes) -> dict[str, float]:
    """Read a reply of /api/v1/query."""
    try:
        reply: Any = json.loads(body)
        kind, result = reply["data"]["resultType"], reply["data"]["result"]
        if kind == "scalar":
            return {"scalar": float(result[1])}
        if kind == "vector":
            series = cast("list[dict[str, Any]]", result)
            return {_labels(entry["metric"]): float(entry["value"][1]) for entry in series}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        shown = body[:_MAX_SHOWN].decode("utf-8", "replace")
        raise MeterUnavailable(f"Prometheus answers {shown!r}, which is no result of a query") from error
    raise MeterUnavailable(
        f"the query gives a {kind}; it must give numbers of now (a scalar or an instant vector): leave the "
        "range out"
    )


def _labels(metric: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={value}" for name, value in sorted(metric.items())) + "}"
