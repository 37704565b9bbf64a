"""Two thousand schedules of the protocol: no invariant is broken in any."""

import pytest

from curtail_dist.sim.run import simulate

SCHEDULES, CHUNK = 2000, 200


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", range(0, SCHEDULES, CHUNK))
def test_no_schedule_breaks_an_invariant(first):
    broken = {seed: wrong for seed in range(first, first + CHUNK) if (wrong := simulate(seed).wrong)}
    assert not broken, "replay with: curtail-sim --seed N"
