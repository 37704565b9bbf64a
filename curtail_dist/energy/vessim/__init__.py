"""A site's grid and microgrid, played by Vessim. Alone in the library it imports Vessim, and pandas."""

from curtail_dist.energy.vessim.flow import Draw, Flow
from curtail_dist.energy.vessim.gridimport import GridImport, drawn, grid_import
from curtail_dist.energy.vessim.opening import open_microgrid
from curtail_dist.energy.vessim.scenario import Battery, Scenario
from curtail_dist.energy.vessim.surplus import MicrogridSignal
from curtail_dist.energy.vessim.trace import VessimSignal, played, vessim_trace

__all__ = [
    "Battery",
    "Draw",
    "Flow",
    "GridImport",
    "MicrogridSignal",
    "Scenario",
    "VessimSignal",
    "drawn",
    "grid_import",
    "open_microgrid",
    "played",
    "vessim_trace",
]
