"""Opens the meter that a run file asks for."""

from curtail_dist.clock import Timepiece
from curtail_dist.config.meter import MeterConfig
from curtail_dist.energy.meters.nvml import NvmlMeter, load_nvml
from curtail_dist.energy.meters.protocol import Meter
from curtail_dist.energy.meters.rapl import RaplMeter
from curtail_dist.energy.meters.total import ConstantMeter, SumMeter
from curtail_dist.errors import CurtailError


def open_meter(config: MeterConfig, *, clock: Timepiece) -> Meter | None:
    """Open a site's meter on this machine; the caller closes it.

    None for `model`: what no meter saw is reckoned by the power model over the phases on record, which are
    known better there than to whoever would read a meter.

    Raises:
        ConfigError: What it asks for is not there, or may not be read.
    """
    if config.kind == "model":
        return None
    if config.kind == "nvml":
        return NvmlMeter(load_nvml(), clock=clock, gpus=config.gpus)
    if config.kind == "rapl":
        return RaplMeter(clock=clock, max_gap_s=config.max_gap_s, root=config.root)
    if config.kind == "constant":
        assert config.watts is not None, "checked by MeterConfig"
        return ConstantMeter(config.watts, covers=config.covers, clock=clock)
    if config.kind == "sum":
        return _open_sum(config, clock)
    return _open_prometheus(config, clock)


def _open_prometheus(config: MeterConfig, clock: Timepiece) -> Meter:
    from curtail_dist.energy.meters.prometheus import (  # HTTP is slow to import and rarely wanted
        PrometheusMeter,
        PrometheusQuery,
    )

    query = PrometheusQuery(
        url=config.url,
        query=config.query,
        timeout_s=config.timeout_s,
        token_env=config.token_env,
    )
    return PrometheusMeter(
        query,
        unit=config.unit,
        clock=clock,
        max_gap_s=config.max_gap_s,
        name=f"Prometheus query {config.query} at {config.url}",
        covers=config.covers,
    )


def _open_sum(config: MeterConfig, clock: Timepiece) -> Meter:
    opened: list[Meter] = []
    try:
        for part in config.parts:
            meter = open_meter(part, clock=clock)
            assert meter is not None, "MeterConfig allows no model in a sum"
            opened.append(meter)
    except CurtailError:
        for meter in opened:
            meter.close()
        raise
    return SumMeter(opened)
