"""What all tests share: an interrupt means the same wherever they are started from, and no test is timed."""

import signal

from hypothesis import HealthCheck, settings

# A shell without a terminal starts background commands with SIGINT ignored, and that is inherited: tests that
# interrupt what they started could then never end it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is; the first text ever drawn in a clone takes a second.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
