"""What DiLoCo adds to the peak of memory, beside the model."""

import subprocess
import sys
from pathlib import Path

import pytest

FRAGMENTS = 8
MOST = 3 * FRAGMENTS + 7
"""Anchor, momentum and residual; then what is on its way, a few fragments' worth."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("delay", ["0", "1"])
def test_beside_anchor_momentum_and_residual_only_a_few_fragments_are_in_memory(delay):
    program = Path(__file__).with_name("peak.py")
    out = subprocess.run(
        [sys.executable, str(program), delay, "1"], capture_output=True, text=True, check=True
    )
    assert 3 * FRAGMENTS < float(out.stdout) < MOST
