"""What the ranks of a site say to each other. Those of two and of three are real processes."""

from pathlib import Path

import pytest
from intrasite_ranks import LENGTHS, WARMUP_STEPS, digest, message, talk, tensors
from together import run_ranks

from curtail_dist.data.ledger import normalize
from curtail_dist.runtime.intrasite import OneRank, open_ranks

NOTICED_S = 2.0
SCRIPT = Path(__file__).with_name("intrasite_ranks.py")
SITES_OF_RANKS = ["west", "east", "west", "a"]
FOUND = {2: "two_ranks", 3: "three_ranks"}

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def two_ranks(nursery, tmp_path_factory):
    """What each of two ranks found, of which the one that leads ended first."""
    folder = tmp_path_factory.mktemp("two")
    return run_ranks(nursery, SCRIPT, 2, str(folder), "0", output=folder)


@pytest.fixture(scope="module")
def three_ranks(nursery, tmp_path_factory):
    """What each of three ranks found, of which one that follows ended first."""
    folder = tmp_path_factory.mktemp("three")
    return run_ranks(nursery, SCRIPT, 3, str(folder), "2", output=folder)


@pytest.fixture(params=FOUND)
def ranks(request):
    """What each rank of a site of several found."""
    return request.getfixturevalue(FOUND[request.param])


@pytest.fixture(params=[1, *FOUND])
def talks(request):
    """What each rank of a site, of one rank too, got from each operation."""
    if request.param == 1:
        return [talk(OneRank())]
    return [found["talk"] for found in request.getfixturevalue(FOUND[request.param])]


def test_a_process_that_torchrun_did_not_start_is_a_site_of_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(open_ranks("texas"), OneRank)


def test_ranks_without_a_process_group_are_told_what_to_do(ranks):
    for found in ranks:
        assert found["unready"].startswith(f"WORLD_SIZE is {len(ranks)} and torch.distributed is not initial")
        assert "call torch.distributed.init_process_group() before the site is entered" in found["unready"]


def test_each_rank_knows_its_place(talks):
    assert [found["place"] for found in talks] == [[rank, len(talks)] for rank in range(len(talks))]


def test_tokens_and_rows_add_up_rank_0_ends_the_round_and_any_rank_may_leave(talks):
    tokens = sum(10**rank for rank in range(len(talks)))
    rows = sum(rank + 1 for rank in range(len(talks)))
    for found in talks:
        first, second = found["agree"]
        assert first == {"tokens": tokens, "rows": rows, "due": True, "leaving": True}
        assert second == {"tokens": tokens, "rows": 0, "due": False, "leaving": False}


def test_a_flag_is_set_for_all_if_it_is_at_any(talks):
    assert all(found["any"] == [True, True, False] for found in talks)


def test_all_hear_what_rank_0_tells_whatever_its_length(talks):
    told = [digest(message(0, length)) for length in LENGTHS]
    assert all(found["tell"] == told for found in talks)


def test_all_get_each_ranks_message_whatever_the_others_length(talks):
    turns = range(len(LENGTHS))
    said = [
        [digest(message(rank, LENGTHS[(rank + turn) % len(LENGTHS)])) for rank in range(len(talks))]
        for turn in turns
    ]
    silence = [digest(b"")] * len(talks)
    assert all(found["gather"] == [*said, silence] for found in talks)


def test_all_get_rank_0s_tensors_whatever_their_layout(talks):
    wanted = [tensor.tolist() for tensor in tensors(0)[1]]
    assert all(found["spread"]["tensors"] == wanted for found in talks)


def test_what_lies_around_a_view_is_not_overwritten(talks):
    first, _ = tensors(0)
    for rank, found in enumerate(talks):
        wanted, _ = tensors(rank)
        wanted[1:3, ::2] = first[1:3, ::2]
        assert found["spread"]["around"] == wanted.tolist()


@pytest.mark.fault
def test_a_rank_that_ends_is_noticed_by_each_other_at_once(ranks):
    (left,) = [found["left"] for found in ranks if "left" in found]
    others = [found["bereft"] for found in ranks if "bereft" in found]
    assert len(others) == len(ranks) - 1
    for other in others:
        assert 0 <= other["at"] - left < NOTICED_S
        for operation in ["any", "agree", "tell", "gather", "spread"] if len(others) == 1 else ["any"]:
            assert "another rank of this site is gone (" in other["said"][operation]
            assert other["said"][operation].endswith("; start its ranks anew")


# The end of a round


def test_the_work_of_a_site_is_that_of_its_ranks_together(ranks):
    found = [one["rounds"]["alike"] for one in ranks]
    work = found[0]["work"]
    mine = [one["mine"] for one in found]
    assert all(one["work"] == work for one in found)
    assert work["rows"] == [list(span) for span in normalize(span for one in mine for span in one["rows"])]
    assert work["open"] == sorted(row for one in mine for row in one["open"])
    assert len(work["open"]) == len(ranks)
    done = [row for first, last in work["rows"] for row in range(first, last)]
    assert sorted([*done, *(row for row, _ in work["open"])]) == [2, 4, 9, *range(20, 37)]


def test_ranks_take_their_steps_together_and_their_tokens_were_added_up_before(ranks):
    work = ranks[0]["rounds"]["alike"]["work"]
    assert (work["site"], work["steps"], work["tokens"]) == ("texas", 2, 42)


def test_each_rank_hears_what_the_others_keep_of_their_rows(ranks):
    found = [one["rounds"]["alike"] for one in ranks]
    kept = [one["my_ahead"] for one in found]
    assert all(one["ahead"] == kept for one in found)
    assert all(kept), "each keeps the row that it left open"


def test_the_loss_of_a_site_is_the_mean_of_those_ranks_that_had_one(ranks):
    means = [rank + 0.5 for rank in range(1, len(ranks))]
    assert {found["rounds"]["alike"]["loss"] for found in ranks} == {sum(means) / len(means)}


def test_ranks_that_trained_apart_stop_and_each_names_the_one_that_differs(ranks):
    for found in ranks:
        said = found["rounds"]["apart"]
        assert said.startswith(
            f"site texas: after 2 steps the parameters of rank {len(ranks) - 1} differ from"
        )
        assert "average the gradients over the site's ranks in the training loop" in said


def test_ranks_that_differed_once_are_still_in_step(ranks):
    assert all(found["rounds"]["again"] == found["rounds"]["alike"] for found in ranks)


# The inner optimizer's state after an absence


def test_ranks_that_kept_their_state_at_one_time_all_go_on_with_their_own(ranks):
    for rank, found in enumerate(ranks):
        assert found["returns"]["same"] == {"momenta": [[[rank + 1.0, rank + 1.0]]], "warmup": 1.0}


@pytest.mark.parametrize("how", ["apart", "rank 0 alone", "others too old", "nothing kept"])
def test_if_one_rank_cannot_go_on_with_the_others_all_begin_afresh_and_gently(ranks, how):
    first = 1 / (WARMUP_STEPS + 1)
    assert all(found["returns"][how] == {"momenta": [], "warmup": first} for found in ranks)


# Several sites below one torchrun


@pytest.fixture(scope="module")
def job(nursery, tmp_path_factory):
    """What each of four ranks found, which are of three sites."""
    script, folder = Path(__file__).with_name("job_ranks.py"), tmp_path_factory.mktemp("job")
    return run_ranks(nursery, script, 4, *SITES_OF_RANKS, output=folder)


def test_ranks_of_one_job_that_name_the_same_site_form_that_site(job):
    assert [found["talk"]["place"] for found in job] == [[0, 2], [0, 1], [1, 2], [0, 1]]
    assert [found["gathered"] for found in job] == [["west0", "west2"], ["east1"], ["west0", "west2"], ["a3"]]


def test_what_a_site_of_a_job_says_stays_within_it(job):
    west = [job[0]["talk"], job[2]["talk"]]
    told = [digest(message(0, length)) for length in LENGTHS]
    for found in west:
        assert found["tell"] == told
        assert found["agree"][0] == {"tokens": 11, "rows": 3, "due": True, "leaving": True}
        assert found["spread"]["tensors"] == [tensor.tolist() for tensor in tensors(0)[1]]
    assert job[1]["talk"] == job[3]["talk"] == talk(OneRank())


def test_gradients_are_averaged_over_the_ranks_of_ones_own_site(job):
    assert [found["averaged_with"] for found in job] == [[0, 2], [1], [0, 2], [3]]
    assert not any(found["all"] for found in job), "the default group is that of all sites"
