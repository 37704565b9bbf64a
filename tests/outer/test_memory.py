"""What DiLoCo adds to the peak of memory, beside the model."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FRAGMENTS = 8
MOST = 3 * FRAGMENTS + 4
"""Anchor, momentum and residual; then what is on its way, four fragments' worth."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("members", ["1", "2"])
@pytest.mark.parametrize("delay", ["0", "1"])
def test_beside_anchor_momentum_and_residual_four_fragments_are_in_memory(delay, members):
    """What is asked of the allocator: how much it keeps of what was given back is another matter."""
    program = Path(__file__).with_name("peak.py")
    out = subprocess.run(
        [sys.executable, str(program), delay, members],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)},
    )
    assert 3 * FRAGMENTS < float(out.stdout) < MOST
