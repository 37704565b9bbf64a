"""The optimizer sharded over two and over four ranks, which are real processes over Gloo."""

from pathlib import Path

import pytest
from together import run_ranks

SCRIPT = Path(__file__).with_name("sharded_ranks.py")

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(
    scope="module", params=[(2, "2026-01"), (2, "2026-07"), (4, "2026-01"), (4, "2026-07")], ids=str
)
def ranks(request, nursery, tmp_path_factory):
    """What each rank found after 20 steps along gradients of its own."""
    count, variant = request.param
    found = run_ranks(nursery, SCRIPT, count, variant, output=tmp_path_factory.mktemp("ranks"))
    return sorted(found, key=lambda one: one["rank"])


def test_its_parameters_are_those_of_one_rank_with_the_mean_of_the_gradients(ranks):
    for found in ranks:
        assert found["single_is_single"] and found["moved"] > 0.5
        assert found["apart"] < 1e-5


def test_all_ranks_have_the_same_bytes(ranks):
    assert len({found["digest"] for found in ranks}) == 1


def test_each_rank_holds_a_share_of_the_state(ranks):
    shares = [found["state_share"] for found in ranks]
    assert sum(shares) == pytest.approx(1, abs=0.01)  # counts of steps are held by all
    assert max(shares) < 1.25 / len(ranks)  # matrices that do not go round make them unequal


def test_the_gathered_state_is_that_of_one_rank(ranks):
    for found in ranks:
        assert found["before"] == 0
        assert found["same_keys"] and found["whole_is_elsewhere_empty"]
        assert found["state_apart"] < 1e-5


def test_a_gathered_state_is_taken_up_by_as_many_ranks_and_by_one(ranks):
    for found in ranks:
        assert found["resumed"] == found["digest"]
        assert found["lone_apart"] < 1e-5


def test_other_parameters_with_gradients_than_before_are_refused(ranks):
    for found in ranks:
        assert "the parameters with a gradient is '1, other than before'" in found["refused"]
