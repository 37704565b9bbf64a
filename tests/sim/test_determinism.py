import os
import subprocess
import sys

import pytest

from curtail_dist.sim.kernel import Kernel
from curtail_dist.sim.run import simulate
from curtail_dist.sim.timeline import lines

BUSY = 24
SHOW = """
import sys
from curtail_dist.sim.run import simulate
from curtail_dist.sim.timeline import lines
sys.stdout.write("\\n".join(lines(simulate(int(sys.argv[1])).history)))
"""


def timeline(seed: int) -> str:
    return "\n".join(lines(simulate(seed).history))


def test_a_seed_gives_the_same_schedule_again():
    assert timeline(BUSY) == timeline(BUSY)


def test_another_seed_gives_another():
    assert timeline(BUSY) != timeline(BUSY + 1)


@pytest.mark.parametrize("hash_seed", ["0", "1234"])
def test_a_seed_gives_the_same_schedule_in_another_process(hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, str(BUSY)], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout == timeline(BUSY)


def test_events_of_equal_time_keep_their_order():
    kernel, seen = Kernel(0), []
    for name in "abc":
        kernel.after(1.0, seen.append, name)
    kernel.after(0.5, seen.append, "first")
    kernel.run(10.0, lambda: False)
    assert seen == ["first", "a", "b", "c"]
    assert kernel.now == 1.0


def test_nothing_happens_after_the_time_is_over():
    kernel, seen = Kernel(0), []
    kernel.after(2.0, seen.append, "late")
    kernel.run(1.0, lambda: False)
    assert seen == []
