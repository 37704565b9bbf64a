"""What a plan for all sites needs to know of one: its agent publishes it, every agent reads it."""

from dataclasses import asdict, dataclass
from typing import Self

from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.membership.records import decode, encode
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One site's, as of a moment of run time."""

    made_at: Seconds
    futures: tuple[StepFunction, ...]
    """Its intensity from then on, in futures that are equally likely and the same ones at every site; all
    have the same edges. A price of electricity is in it where one counts. Empty: the site cannot take part
    now."""
    power: PowerModel
    runs: bool
    """Whether it joins or trains."""
    joins_s: Seconds
    """What is left of its joining, as far as can be said."""
    join_s: Seconds
    """What a start takes there."""
    efficiency: float | None = None
    """Share of the time that sites trained while several were up, as its agent measured it."""

    def __post_init__(self) -> None:
        if any(future.edges != self.futures[0].edges for future in self.futures):
            raise ValueError("the futures of an outlook have different edges; they must have the same")

    def encode(self) -> bytes:
        """Return the stored value; times and intensities to a tenth, which no plan depends on."""
        edges = [round(at, 1) for at in self.futures[0].edges] if self.futures else []
        futures = [[round(value, 1) for value in future.values] for future in self.futures]
        own = {name: getattr(self, name) for name in ("made_at", "runs", "joins_s", "join_s", "efficiency")}
        return encode({**own, "edges": edges, "futures": futures, "power": asdict(self.power)})

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a stored value."""
        raw = decode(value)
        edges = tuple(raw.pop("edges"))
        raw["futures"] = tuple(StepFunction(edges=edges, values=tuple(values)) for values in raw["futures"])
        raw["power"] = PowerModel(**raw["power"])
        return cls(**raw)
