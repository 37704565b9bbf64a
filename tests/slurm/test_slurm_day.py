"""The demo's day with its ranks in jobs of a real Slurm: the same run file, another `provisioner` block."""

import pytest
from shortday import SITES, TIMEOUT_S, play_short_day

BLOCK = {"kind": "slurm", "slurm": {"poll_s": 0.3, "cpus_per_task": 1}}


@pytest.mark.system
@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_a_short_day_by_slurm_trains_every_row_and_leaves_no_job_behind(slurm, tmp_path):
    play_short_day(tmp_path, BLOCK)
    assert slurm.jobs() == []
    for site in SITES:
        job_states = {state for _, state in slurm.jobs(f"curtail.demo.{site}", over=True)}
        assert job_states == {"COMPLETED"}
