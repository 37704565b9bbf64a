"""What all tests share: an interrupt means the same wherever they are started from, and no test is timed."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from nursery import Nursery

# A shell without a terminal starts background commands with SIGINT ignored, and that is inherited: tests that
# interrupt what they started could then never end it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is; the first text ever drawn in a clone takes a second.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What rank processes are forked from, so that each need not load torch."""
    with Nursery() as nursery:
        yield nursery
