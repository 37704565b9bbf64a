"""Opens a site's Vessim signal as the run file says."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from curtail_dist.clock import Timepiece
from curtail_dist.config.microgrid import MicrogridConfig
from curtail_dist.config.sections import require
from curtail_dist.energy.traces import Trace, read_trace
from curtail_dist.energy.vessim.scenario import Scenario
from curtail_dist.energy.vessim.surplus import MicrogridSignal


class MicrogridSection(Protocol):
    """What a run file's signal section says where it has a microgrid."""

    @property
    def path(self) -> Path | None:
        """CSV file of the grid's intensity."""
        ...

    @property
    def time_column(self) -> str:
        """Its column with UTC times."""
        ...

    @property
    def value_column(self) -> str:
        """Its column in g CO2/kWh."""
        ...

    @property
    def microgrid(self) -> MicrogridConfig | None:
        """What is between that grid and the site."""
        ...


def open_vessim(config: MicrogridSection, *, clock: Timepiece, start: datetime, site: str) -> MicrogridSignal:
    """Open the microgrid of `site`; `config.path` is the trace of its grid, `start` (aware) is run time 0.

    Raises ConfigError where either is missing, TraceError for a trace that cannot be read, and for traces
    that do not cover the run together.
    """
    require(config.path is not None, "signal.path", config.path, "given with signal.microgrid")
    require(config.microgrid is not None, "signal.microgrid", config.microgrid, "given")
    assert config.path is not None, "required above"
    assert config.microgrid is not None, "required above"
    grid = read_trace(config.path, time_column=config.time_column, value_column=config.value_column)
    return open_microgrid(config.microgrid, grid, clock=clock, start=start, site=site)


def open_microgrid(
    config: MicrogridConfig, grid: Trace, *, clock: Timepiece, start: datetime, site: str
) -> MicrogridSignal:
    """Open a microgrid at a grid whose intensity is `grid`. Raises TraceError as `open_vessim` does."""
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
    )
