"""Opens the microgrid of a site as the run file says."""

from datetime import datetime

from curtail_dist.clock import Timepiece
from curtail_dist.config.microgrid import MicrogridConfig
from curtail_dist.energy.traces import Trace, read_trace
from curtail_dist.energy.vessim.scenario import Scenario
from curtail_dist.energy.vessim.surplus import MicrogridSignal


def open_microgrid(
    config: MicrogridConfig, grid: Trace, *, clock: Timepiece, start: datetime, site: str
) -> MicrogridSignal:
    """Open the microgrid of `site` at a grid whose intensity is `grid`; `start` (aware) is run time 0.

    Raises TraceError for a production that cannot be read, and for traces that do not cover the run together.
    """
    given = config.production
    production = (
        None
        if given is None
        else read_trace(given.path, time_column=given.time_column, value_column=given.value_column)
    )
    scenario = Scenario.between(
        site, config, grid.series(start), None if production is None else production.series(start)
    )
    files = f"grid {grid.path}" + ("" if production is None else f", production {production.path}")
    return MicrogridSignal(
        scenario,
        clock=clock,
        source=f"vessim {config.measure} of {site} ({files})",
        synthetic=grid.synthetic or (production is not None and production.synthetic),
        basis=grid.basis,
    )
