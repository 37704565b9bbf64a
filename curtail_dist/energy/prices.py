"""The price of electricity: what a run costs, and what it weighs in a plan.

A plan that weighs cost takes for each site its own intensity plus `policy.g_per_currency` times its price:
what it then keeps least is emissions + g_per_currency x cost. Accounts stay in true grams, and in currency.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from curtail_dist.config.price import PriceConfig
from curtail_dist.energy.emissions import Interval, PowerModel, drawn
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.traces import read_rows
from curtail_dist.errors import TraceError
from curtail_dist.units import hours, kwh

_PER_KWH = {"kWh": 1.0, "MWh": 0.001}


def price_series(config: PriceConfig, start: datetime) -> StepFunction:
    """Return the price per kWh over run time, where `start` (aware) is 0.

    Raises TraceError for a file that cannot be read, or ends before the run starts.
    """
    if config.per_kwh is not None:
        return StepFunction(edges=(-math.inf, math.inf), values=(config.per_kwh,))
    assert config.path is not None, "checked by PriceConfig"
    rows = read_rows(
        config.path, time_column=config.time_column, value_column=config.value_column, lowest=-math.inf
    )
    end = rows.times[-1] + (rows.times[-1] - rows.times[-2])
    if end <= start:
        raise TraceError(
            f"{config.path} ends at {end.isoformat()}, the run starts at {start.isoformat()}; give prices "
            "that cover the run, or set run.start"
        )
    edges = tuple((at - start).total_seconds() for at in (*rows.times, end))
    return StepFunction(edges=edges, values=tuple(value * _PER_KWH[config.per] for value in rows.values))


def weighed(intensity: StepFunction, price: StepFunction | None, g_per_currency: float) -> StepFunction:
    """Return an intensity with what its electricity costs weighed in; unchanged where that weighs nothing.

    At least 0: what is paid to whoever takes it makes no hour better than one without emissions. Where the
    price is not known a plan takes the nearest that is; no account does.
    """
    if price is None or not g_per_currency:
        return intensity
    inner = (at for at in price.edges if intensity.start < at < intensity.end)
    edges = sorted({*intensity.edges, *inner})
    last = len(price.values) - 1

    def at(moment: float) -> float:
        known = (
            price.at(moment) if price.covers(moment, moment) else price.values[last * (moment >= price.end)]
        )
        return max(0.0, intensity.at(moment) + g_per_currency * known)

    return StepFunction(edges=tuple(edges), values=tuple(at(edge) for edge in edges[:-1]))


def cost_of(intervals: Sequence[Interval], power: PowerModel, price: StepFunction) -> float:
    """Return what was paid for what a site drew, in the currency of the price.

    Raises TraceError where the price is not known whenever it drew something.
    """
    drew = [draw for draw in drawn(intervals, power) if draw.watts]
    if drew and not price.covers(drew[0].start, drew[-1].stop):
        since, until = hours(drew[0].start), hours(drew[-1].stop)
        raise TraceError(
            f"its price is known from {hours(price.start):.2f} h to {hours(price.end):.2f} h, and it drew "
            f"power from {since:.2f} h to {until:.2f} h: give prices that cover that"
        )
    return math.fsum(kwh(draw.watts * price.integral(draw.start, draw.stop)) for draw in drew)
