"""Odd calls from Python; `boundary.py` plays them for as long as one likes."""

import boundary
import pytest


@pytest.mark.parametrize("block", range(5))
def test_odd_calls_are_right_or_refused_in_one_line(block):
    refused = sum(boundary.play(seed) for seed in range(100 * block, 100 * (block + 1)))
    assert refused > 10
