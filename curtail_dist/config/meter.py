"""What the run file says of a site's metering: what measures its energy, and what its footprint includes."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from curtail_dist.config.sections import require, require_web
from curtail_dist.units import Seconds, Watts

_KEYS = {
    "model": ("covers",),
    "nvml": ("gpus",),
    "rapl": ("root", "max_gap_s"),
    "prometheus": ("covers", "url", "query", "unit", "timeout_s", "max_gap_s", "token_env"),
    "constant": ("covers", "watts"),
    "sum": ("parts",),
}
"""Which keys belong to a kind."""
_NEEDED = {
    "prometheus": ("covers", "url", "query", "unit"),
    "constant": ("covers", "watts"),
    "sum": ("parts",),
}
UNITS = ("joules", "millijoules", "watts")
"""What a Prometheus query may give: a counter of energy, or a power."""


@dataclass(frozen=True, kw_only=True)
class MeterConfig:
    """What measures the energy of a site."""

    kind: str = "model"
    """`model`: nothing does, its energy is `power` times the time in each phase; `nvml`: its GPUs' counters;
    `rapl`: its processors' counters; `prometheus`: a query (DCGM, a PDU); `constant`: a stated power, for
    what no other part of a sum sees; `sum`: `parts`, added up. Not with a virtual clock, but for `model`."""
    covers: str = ""
    """What the energy is that of, for the report, such as `rack 4 at its PDU`. Needed for `prometheus` and
    `constant`; with `model`, what the watts of `power` include and where they come from."""
    gpus: tuple[int, ...] | None = None
    """With `nvml`: NVML's (nvidia-smi's) numbers of the site's GPUs on this machine. Default: all."""
    root: Path = Path("/sys/class/powercap")
    """With `rapl`: directory of the kernel's powercap zones."""
    url: str = ""
    """With `prometheus`: the server, such as http://10.0.0.9:9090."""
    query: str = ""
    """With `prometheus`: an instant query; several series are added up, each watched for itself."""
    unit: str = ""
    """With `prometheus`: `joules` or `millijoules` for a counter, `watts` for a power."""
    timeout_s: Seconds = 2.0
    """With `prometheus`: real time for which the server may be silent."""
    token_env: str = ""
    """With `prometheus`: environment variable that holds a bearer token. Default: none is sent."""
    max_gap_s: Seconds = 120.0
    """With `prometheus` and `rapl`: longest run time between two readings that still tell what was drawn
    between them, and that a counter may stand still."""
    watts: Watts | None = None
    """With `constant`: the power, while the agent runs."""
    parts: tuple["MeterConfig", ...] = ()
    """With `sum`: the meters; no two may see the same energy."""

    def __post_init__(self) -> None:
        require(self.kind in _KEYS, "meter.kind", self.kind, "one of " + ", ".join(_KEYS))
        for field in fields(self):
            value, name = getattr(self, field.name), field.name
            if name != "kind" and name not in _KEYS[self.kind]:
                require(value == field.default, f"meter.{name}", value, f"left out with kind {self.kind}")
        for name in _NEEDED.get(self.kind, ()):
            value = getattr(self, name)
            require(value not in (None, "", ()), f"meter.{name}", value, f"given with kind {self.kind}")
        self._check_values()

    def _check_values(self) -> None:
        gpus = self.gpus
        distinct = gpus is None or (len(gpus) > 0 and len(set(gpus)) == len(gpus) and min(gpus) >= 0)
        require(distinct, "meter.gpus", gpus, "distinct numbers of GPUs, at least one")
        require(self.root.is_absolute(), "meter.root", self.root, "an absolute path")
        require_web(self.url, "meter.url")
        require(self.unit in ("", *UNITS), "meter.unit", self.unit, ", ".join(UNITS))
        for name in ("timeout_s", "max_gap_s"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, f"meter.{name}", value, "finite and above 0")
        holds = self.watts is None or (math.isfinite(self.watts) and self.watts >= 0)
        require(holds, "meter.watts", self.watts, "finite and at least 0")
        kinds = [part.kind for part in self.parts]
        require(
            not {"sum", "model"} & set(kinds), "meter.parts", kinds, "neither sum nor model; see constant"
        )
        measured = not kinds or set(kinds) != {"constant"}
        require(measured, "meter.parts", kinds, "at least one that measures; else use kind: model")


@dataclass(frozen=True, kw_only=True)
class FootprintConfig:
    """What a site's emissions include besides the energy that its machines draw."""

    pue: float = 1.0
    """Power usage effectiveness: energy of the whole building over that of its machines, at least 1.
    Multiplies all energy and emissions of the site, metered or modelled. Leave it at 1 where the watts or
    the meter include cooling and distribution already; where a microgrid's surplus is read they must."""
    embodied_kg: float | None = None
    """kg CO2e that making, moving and scrapping the site's hardware emits, over its life. Default: not
    counted."""
    lifetime_h: float | None = None
    """Hours of use over which embodied_kg is spread; given with it. 4 years around the clock: 35064."""

    def __post_init__(self) -> None:
        require(math.isfinite(self.pue) and self.pue >= 1, "footprint.pue", self.pue, "finite and at least 1")
        kg, life = self.embodied_kg, self.lifetime_h
        holds = kg is None or (math.isfinite(kg) and kg >= 0)
        require(holds, "footprint.embodied_kg", kg, "finite and at least 0")
        require((kg is None) == (life is None), "footprint.lifetime_h", life, "given with embodied_kg")
        holds = life is None or (math.isfinite(life) and life > 0)
        require(holds, "footprint.lifetime_h", life, "finite and above 0")
