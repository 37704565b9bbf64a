"""A scenario for a rehearsal: a site's grid whose intensity falls to nothing around noon, day after day.

    python scenario.py

Vessim serves it at http://localhost:8700 as microgrid `texas`, grid signal `carbon_intensity`, in g CO2/kWh.
"""

import math
from datetime import datetime, timedelta

import vessim as vs

PORT = 8700
STEP_S = 60
DAY_S = 24 * 3600.0
NIGHT_G_PER_KWH = 420.0
CONSUMER_W = 5600.0


class Sunny(vs.Signal):
    """The intensity by the time of day: that of the night, less what the sun brings."""

    def __init__(self, start: datetime) -> None:
        """Take the time of day at which the simulation starts."""
        self._offset = start.hour * 3600.0 + start.minute * 60.0 + start.second

    def at(self, elapsed: timedelta | float | None = None) -> float:
        """Return g CO2/kWh, never below 0."""
        seconds = elapsed.total_seconds() if isinstance(elapsed, timedelta) else float(elapsed or 0.0)
        sun = max(0.0, -math.cos(2 * math.pi * ((self._offset + seconds) % DAY_S) / DAY_S))
        return NIGHT_G_PER_KWH * max(0.0, 1.0 - 1.2 * sun)


def build(environment: vs.Environment, start: datetime) -> vs.Environment:
    """Put the site into an environment that starts at `start`."""
    environment.add_microgrid(
        name="texas",
        actors=[vs.Consumer("gpus", CONSUMER_W)],
        dispatchables=[vs.GridConnection()],
        grid_signals={"carbon_intensity": Sunny(start)},
    )
    return environment


if __name__ == "__main__":
    environment = build(vs.Environment.live(step_size=STEP_S), datetime.now().astimezone())
    environment.add_controller(vs.Api(broker_port=PORT))
    environment.run()
