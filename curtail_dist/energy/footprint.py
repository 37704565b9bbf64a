"""A run's footprint per million tokens (SCI 1.1): energy times intensity, plus embodied carbon.

    SCI = (E * I + M) / R                            R: tokens / 1e6
    E * I = PUE * sum over sites and phases of energy * intensity         training, idle, joining, exchange
    M     = sum over sites of embodied_kg * hours on / lifetime_h

By marginal and by location-based average intensity, side by side. What is not known is None, never 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from curtail_dist.config.meter import FootprintConfig
from curtail_dist.energy.emissions import SiteEnergy, measured_share
from curtail_dist.units import GRAMS_PER_KG, hours

AVERAGE_READ = "its signal says average intensity, and its emissions are by that, not by the marginal one"
"""Of a site whose source knows no marginal intensity, wherever its emissions are called marginal."""
TOKENS_PER_UNIT = 1_000_000
"""The functional unit."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a run emitted, all sites, and what that is per million tokens."""

    energy_kwh: float
    """PUE included."""
    modelled_kwh: float
    """Part of it that nothing measured."""
    marginal_kg: float
    average_kg: float | None
    """None: the average intensity of some site is not known throughout."""
    embodied_kg: float | None
    """The run's share of the hardware's; None: that of some site is not given."""
    tokens: int

    @property
    def metered_share(self) -> float:
        """Share of the energy that meters measured; 0 where none was drawn."""
        return measured_share(self.energy_kwh, self.modelled_kwh)

    @property
    def marginal_g_per_mtok(self) -> float | None:
        """SCI by marginal intensity, g/Mtok; without embodied carbon where that is None. None: no tokens."""
        return self._per_unit(self.marginal_kg)

    @property
    def average_g_per_mtok(self) -> float | None:
        """SCI by average intensity, likewise; None too where that is unknown."""
        return None if self.average_kg is None else self._per_unit(self.average_kg)

    def _per_unit(self, operational_kg: float) -> float | None:
        if self.tokens <= 0:
            return None
        whole = operational_kg + (self.embodied_kg or 0.0)
        return whole * GRAMS_PER_KG / (self.tokens / TOKENS_PER_UNIT)

    def lines(self, *, no_tokens: str) -> tuple[str, ...]:
        """Return what to print, in plain words; `no_tokens` says what to do where none were counted."""
        embodied = "not counted" if self.embodied_kg is None else f"{self.embodied_kg:.3f} kg"
        return (
            f"marginal {self.marginal_kg:.3f} kg CO2, location-based average {_shown(self.average_kg, 'kg')}",
            f"energy {self.energy_kwh:.3f} kWh with PUE, {self._modelled()} modelled; "
            f"embodied carbon {embodied}",
            self._sci(no_tokens),
        )

    def _modelled(self) -> str:
        """Say how much of the energy: all in words, for the two sums may differ in their last digit."""
        return "all of it" if self.metered_share == 0 else f"{self.modelled_kwh:.3f} kWh of it"

    def _sci(self, no_tokens: str) -> str:
        if self.tokens <= 0:
            return f"SCI per million tokens unknown: no tokens are counted; {no_tokens}"
        scope = "operational only" if self.embodied_kg is None else "with embodied"
        return (
            f"SCI ({scope}) {_shown(self.marginal_g_per_mtok, 'g per million tokens')} marginal, "
            f"{_shown(self.average_g_per_mtok, 'g per million tokens')} average"
        )


def footprint(
    sites: Mapping[str, SiteEnergy], configs: Mapping[str, FootprintConfig], *, tokens: int
) -> Footprint:
    """Add up the sites of a run.

    Args:
        sites: Each site's account, made with its PUE (`PowerModel.from_config`).
        configs: What each site's footprint includes; every site must have one.
        tokens: Tokens in the run's chain: what was thrown away is in the energy and not in these.
    """
    return Footprint(
        energy_kwh=math.fsum(site.total_kwh for site in sites.values()),
        modelled_kwh=math.fsum(site.modelled_kwh for site in sites.values()),
        marginal_kg=math.fsum(site.emissions_kg for site in sites.values()),
        average_kg=_sum(site.average_kg for site in sites.values()),
        embodied_kg=_sum(embodied_share_kg(configs[name], site.on_s) for name, site in sites.items()),
        tokens=tokens,
    )


def embodied_share_kg(config: FootprintConfig, on_s: float) -> float | None:
    """Return the part of the hardware's embodied carbon that `on_s` seconds carry; None: not given."""
    if config.embodied_kg is None or config.lifetime_h is None:
        return None
    return config.embodied_kg * hours(on_s) / config.lifetime_h


def not_counted(
    config: FootprintConfig, *, covers: str, metered: bool, average_known: bool
) -> tuple[str, ...]:
    """Return what a site's numbers leave out, one plain sentence each, to stand beside them.

    Args:
        config: What its footprint includes.
        covers: What its meter covers (`Meter.covers`), or with no meter what the stated watts do; may be
            empty then.
        metered: Whether a meter was read.
        average_known: Whether its average intensity is known.
    """
    if metered:
        power = f"The meter covers {covers}; what else draws power is not counted."
    elif covers:
        power = f"Power is stated, not measured, for {covers}; what else draws power is not counted."
    else:
        power = "Power is stated, not measured; what the stated watts leave out is not counted."
    found = [power]
    if config.pue == 1.0:
        found.append("Cooling and power distribution count only as far as the watts hold them (PUE 1.0).")
    if config.embodied_kg is None:
        found.append("Embodied carbon of the hardware is not counted: footprint.embodied_kg is not given.")
    else:
        found.append("Embodied carbon counts for the hours the site was on, not for those it stood off.")
    if not average_known:
        found.append(
            "Location-based average emissions are unknown: no average intensity is given, or none for all "
            "the time in which power was drawn."
        )
    return (
        *found,
        "Energy drawn while the site is off is not counted.",
        "The network between sites, the coordination store, storage and data preparation are not counted.",
        "Trial runs, evaluation and later use of the model are not counted.",
    )


def by_site(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the sentences, each once, after the names of those whom it is about where that is not all."""
    found: dict[str, list[str]] = {}
    for name, sentences in said.items():
        for sentence in sentences:
            found.setdefault(sentence, []).append(name)
    return tuple(
        sentence if len(names) == len(said) else f"{', '.join(names)}: {sentence}"
        for sentence, names in found.items()
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """Add up; one unknown makes the sum unknown."""
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return math.fsum(known)


def _shown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.3f} {unit}"
