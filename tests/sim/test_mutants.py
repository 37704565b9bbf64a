"""The checks can fail: each protocol that is wrong on purpose breaks an invariant."""

from itertools import chain

import pytest

from curtail_dist.sim.mutants import MUTANTS
from curtail_dist.sim.run import simulate

WITHIN = 2000
FOUND_BY = {
    "dawdles-after-loss": 36,
    "plans-for-present-epoch": 709,
    "says-nothing": 52,
    "takes-silence-for-death": 158,
    "two-epochs": 67,
    "unfenced-commit": 372,
}
"""Seeds that find what few do. They are looked at first; where a changed simulator plays other days by them,
the search goes on."""


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name):
    seeds = chain([FOUND_BY.get(name, 0)], range(WITHIN))
    assert any(simulate(seed, MUTANTS[name]).wrong for seed in seeds)


def test_seeds_are_given_of_mutants_that_there_are():
    assert FOUND_BY.keys() <= MUTANTS.keys()
