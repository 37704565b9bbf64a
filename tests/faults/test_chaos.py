"""A minute of faults of all kinds: no row is lost or done twice, and all that live agree."""

import json

import pytest

from faults.chaos import chaos

DURATION_S = 60.0
LEAST_CHANGES = 6

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]


def test_four_sites_under_chaos_lose_no_row_and_agree_on_every_version(nursery, tmp_path):
    facts = chaos(nursery, tmp_path, seed=1, duration_s=DURATION_S)
    assert (facts["rows_lost"], facts["rows_duplicated"]) == (0, 0)
    assert facts["faults"] >= LEAST_CHANGES
    assert facts["membership_changes"] >= LEAST_CHANGES
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    rows = summary["rows"]
    assert (rows["lost"], rows["duplicated"], rows["untold"]) == (0, 0, 0)
    assert summary["loss"]["last"] < summary["loss"]["first"]
    assert (tmp_path / "run" / "report.png").exists()
