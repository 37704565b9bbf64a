"""The checks can fail: each protocol that is wrong on purpose breaks an invariant."""

import pytest

from curtail_dist.sim.mutants import MUTANTS
from curtail_dist.sim.run import simulate

WITHIN = 2000


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name):
    assert any(simulate(seed, MUTANTS[name]).wrong for seed in range(WITHIN))
