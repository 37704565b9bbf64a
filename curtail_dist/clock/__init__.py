"""Run time: the clock that energy, policy and rounds read, real or virtual.

Leases and network deadlines never use it: they run on the process's own monotonic time.
"""

from curtail_dist.clock.base import Clock, SystemClock, Timepiece
from curtail_dist.clock.client import VirtualClock, open_clock

__all__ = ["Clock", "SystemClock", "Timepiece", "VirtualClock", "open_clock"]
