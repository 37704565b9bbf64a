"""What a site's energy is measured by. Imports neither NVML nor HTTP before they are wanted."""

from curtail_dist.energy.meters.opening import open_meter
from curtail_dist.energy.meters.protocol import Meter
from curtail_dist.energy.meters.spans import Metering, Span, merge
from curtail_dist.errors import MeterUnavailable

__all__ = ["Meter", "MeterUnavailable", "Metering", "Span", "merge", "open_meter"]
