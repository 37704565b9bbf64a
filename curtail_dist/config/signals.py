"""What the run file says of a site's carbon intensity: where it comes from."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from curtail_dist.config.microgrid import MicrogridConfig
from curtail_dist.config.own import OWN, is_own
from curtail_dist.config.sections import require, require_web
from curtail_dist.units import GRAMS_PER_LB, GramsCO2PerKWh, Seconds

Basis: TypeAlias = Literal["marginal", "average"]
"""What an intensity is that of: one kWh more, or all of the grid's."""

_TRACE = ("path", "time_column", "value_column", "unit", "basis")
_ASKED = ("timeout_s", "every_s", "stale_s", "fallback")
_TOKEN = ("token_env", "token_file")
_KEYS = {
    "trace": _TRACE,
    "vessim": (*_TRACE, "microgrid"),
    "constant": ("value", "basis"),
    "watttime": ("region", "user", "password_env", "password_file", "url", *_ASKED),
    "electricitymaps": ("zone", *_TOKEN, "url", *_ASKED),
    "carbonintensity": ("postcode", "url", *_ASKED),
    "prometheus": ("url", "query", "unit", "basis", *_TOKEN, *_ASKED),
    "vessim-rest": ("url", "microgrid_name", "grid_signal", "unit", "basis", *_ASKED),
    "http": (
        *("url", "value_at", "time_at", "forecast_at", "forecast_value_at", "forecast_time_at"),
        *("unit", "basis", "headers", *_ASKED),
    ),
}
"""Which keys belong to a kind."""
_OF_ONES_OWN = ("options",)
_NEEDED = {
    "trace": ("path",),
    "vessim": ("path",),
    "constant": ("value",),
    "watttime": ("region",),
    "electricitymaps": ("zone",),
    "prometheus": ("url", "query"),
    "vessim-rest": ("url", "grid_signal"),
    "http": ("url", "value_at"),
}
LIVE = ("watttime", "electricitymaps", "carbonintensity", "prometheus", "vessim-rest", "http")
"""Kinds that ask a server; not with a virtual clock."""
UNITS: Mapping[str, float] = {
    "g/kWh": 1.0,
    "kg/kWh": 1000.0,
    "g/MWh": 0.001,
    "kg/MWh": 1.0,
    "t/MWh": 1000.0,
    "lb/MWh": GRAMS_PER_LB / 1000.0,
}
"""Units of intensity, in g CO2/kWh. A pound is 0.45359237 kg by definition."""


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Where a site's carbon intensity comes from."""

    kind: str
    """`trace`: a CSV file; `vessim`: the same, played through Vessim; `constant`. Or what is asked over the
    network: `watttime`, `electricitymaps`, `carbonintensity` (Great Britain), `prometheus`, `vessim-rest`
    (Vessim's REST service), `http` (any JSON). Or MODULE:NAME of your own (docs/energy.md)."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """With MODULE:NAME: what it is called with besides `clock`, `start` and `site`."""
    path: Path | None = None
    """CSV file of a trace. Relative paths start at the run file."""
    time_column: str = ""
    """Column with UTC times (ISO 8601). Default: told by the header, see energy.traces."""
    value_column: str = ""
    """Column with the intensity. Default: told by the header, together with its unit."""
    unit: str = ""
    """Unit of the value: g/kWh (the default), kg/kWh, g/MWh, kg/MWh, t/MWh or lb/MWh."""
    basis: str = ""
    """`marginal` (the default) or `average`: what the value is, where its source does not say."""
    value: GramsCO2PerKWh | None = None
    """The value of a constant signal, g CO2/kWh."""
    microgrid: MicrogridConfig | None = None
    """With `vessim`: what stands between the grid and the site; `path` is the grid's intensity."""
    region: str = ""
    """With `watttime`: a balancing authority, such as CAISO_NORTH."""
    user: str = ""
    """With `watttime`: the account. Default: the environment's WATTTIME_USER."""
    password_env: str = "WATTTIME_PASSWORD"
    """With `watttime`: environment variable that holds its password."""
    password_file: Path | None = None
    """With `watttime`: file that holds it, in place of the environment."""
    zone: str = ""
    """With `electricitymaps`: a zone, such as US-CAL-CISO."""
    token_env: str = ""
    """Environment variable that holds a token. Default with `electricitymaps`: ELECTRICITYMAPS_TOKEN; with
    `prometheus` none is sent."""
    token_file: Path | None = None
    """File that holds it, in place of the environment."""
    postcode: str = ""
    """With `carbonintensity`: an outward postcode, such as RG10, for its region. Default: the country."""
    url: str = ""
    """The server or address to ask. Default: the provider's own."""
    query: str = ""
    """With `prometheus`: an instant query that gives one number."""
    microgrid_name: str = ""
    """With `vessim-rest`: the microgrid's name there. Default: the site's."""
    grid_signal: str = ""
    """With `vessim-rest`: which of its grid signals is the intensity."""
    value_at: str = ""
    """With `http`: JSON pointer (RFC 6901) to the value, such as /data/0/intensity."""
    time_at: str = ""
    """With `http`: JSON pointer to the time from which it holds (ISO 8601, or Unix seconds or
    milliseconds). Default: now, so that a feed that died cannot be told from one that lives."""
    forecast_at: str = ""
    """With `http`: JSON pointer to a list of what is expected."""
    forecast_value_at: str = ""
    """With `http`: JSON pointer to the value within an entry of that list."""
    forecast_time_at: str = ""
    """With `http`: JSON pointer to the time within an entry of that list."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """With `http`: header -> environment variable that holds its value."""
    timeout_s: Seconds = 5.0
    """Real time for which a server may be silent."""
    every_s: Seconds | None = None
    """Real time between two requests. Default: the provider's own rhythm."""
    stale_s: Seconds | None = None
    """Age beyond which what a server gives as now counts as no answer. Default: by the provider's rhythm."""
    fallback: "SignalConfig | None" = None
    """Another of what is asked over the network, to go by while this one is not to be had."""

    def __post_init__(self) -> None:
        known = self.kind in _KEYS or self.own
        require(known, "signal.kind", self.kind, f"one of {', '.join(_KEYS)}, {OWN}")
        holds = self.microgrid is None or self.kind == "vessim"
        require(holds, "signal.kind", self.kind, "vessim where signal.microgrid is given")
        for one in fields(self):
            given = getattr(self, one.name)
            default = {} if one.default is MISSING else one.default
            if one.name != "kind" and one.name not in _KEYS.get(self.kind, _OF_ONES_OWN):
                require(given == default, f"signal.{one.name}", given, f"left out with kind {self.kind}")
        for name in _NEEDED.get(self.kind, ()):
            given = getattr(self, name)
            require(given not in (None, ""), f"signal.{name}", given, f"given with kind {self.kind}")
        self._check_values()

    def _check_values(self) -> None:
        holds = self.value is None or (math.isfinite(self.value) and self.value >= 0)
        require(holds, "signal.value", self.value, "at least 0 and finite")
        must = "one of " + ", ".join(UNITS)
        require(self.unit in ("", *UNITS), "signal.unit", self.unit, must)
        require(self.basis in ("", "marginal", "average"), "signal.basis", self.basis, "marginal or average")
        require_web(self.url, "signal.url")
        for name in ("value_at", "time_at", "forecast_at", "forecast_value_at", "forecast_time_at"):
            pointer = getattr(self, name)
            holds = not pointer or pointer.startswith("/")
            require(holds, f"signal.{name}", pointer, "a JSON pointer, such as /data/0/intensity")
        parts = [bool(p) for p in (self.forecast_at, self.forecast_value_at, self.forecast_time_at)]
        together = all(parts) or not any(parts)
        require(together, "signal.forecast_at", self.forecast_at, "given with its value and time pointers")
        for name in ("timeout_s", "every_s", "stale_s"):
            span = getattr(self, name)
            holds = span is None or (math.isfinite(span) and span > 0)
            require(holds, f"signal.{name}", span, "finite and above 0")
        holds = self.fallback is None or self.fallback.kind in LIVE
        must = f"one of {', '.join(LIVE)}: no file and no constant knows what is now"
        require(holds, "signal.fallback.kind", self.fallback and self.fallback.kind, must)

    @property
    def own(self) -> bool:
        """Whether it is the user's own."""
        return is_own(self.kind)

    @property
    def live(self) -> bool:
        """Whether it asks a server."""
        return self.kind in LIVE
