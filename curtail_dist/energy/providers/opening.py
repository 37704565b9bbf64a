"""Opens the provider that a run file names."""

from collections.abc import Callable, Mapping
from datetime import datetime

from curtail_dist.config.signals import SignalConfig
from curtail_dist.energy.providers.answers import Provider
from curtail_dist.energy.providers.carbonintensity import CarbonIntensity
from curtail_dist.energy.providers.electricitymaps import ElectricityMaps
from curtail_dist.energy.providers.general import JsonProvider, PrometheusProvider, VessimProvider
from curtail_dist.energy.providers.live import LiveSignal
from curtail_dist.energy.providers.watttime import WattTime

_KINDS: Mapping[str, Callable[[SignalConfig, str], Provider]] = {
    "watttime": lambda config, site: WattTime(config),
    "electricitymaps": lambda config, site: ElectricityMaps(config),
    "carbonintensity": lambda config, site: CarbonIntensity(config),
    "prometheus": lambda config, site: PrometheusProvider(config),
    "vessim-rest": VessimProvider,
    "http": lambda config, site: JsonProvider(config),
}


def open_live(config: SignalConfig, *, start: datetime, site: str) -> LiveSignal:
    """Open a provider and begin to ask it; wait for its first answer as long as one may take.

    Raises ConfigError where a credential, or a package that it needs, is missing.
    """
    provider = _KINDS[config.kind](config, site)
    signal = LiveSignal(provider, start=start, timeout_s=config.timeout_s)
    signal.start(wait_s=2 * config.timeout_s)
    return signal
