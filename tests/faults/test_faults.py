"""Each fault of the matrix once, with real processes: it fired where it names, and nothing was lost.

The plays themselves check rows, hashes, lost steps and the proof that the fault fired. The bounds on time are
those of the matrix, with slack, since other work on the machine can take the cores away: `make faults`
measures them, twenty times each.
"""

import pytest

from faults.matrix import MATRIX, over_bounds, play

SLACK = 2.0

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", MATRIX)
def test_nothing_is_lost_and_the_others_go_on_in_time(name, nursery, tmp_path):
    facts = play(name, nursery, tmp_path / name, seed=1, once=True)
    assert not over_bounds(MATRIX[name], facts, slack=SLACK), facts
