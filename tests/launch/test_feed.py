"""Steps of several passes: what is trained is what the site says of it, at one rank and at two."""

from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime.inner_loop_ranks import BOS, WIDEST, Scenario
from steps_ranks import drawn, play
from together import run_ranks

from curtail_dist.runtime.intrasite import OneRank

RUNS, PASSES = 40, 3

scenarios = st.builds(
    Scenario,
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=14).map(tuple),
    steps=st.integers(1, 6),
    placed=st.just(True),
    delay=st.integers(0, 2),
    leaver=st.sampled_from([-1, 0]),
    leaves_after=st.integers(1, 8),
)


def targets_of(scenario, row):
    """What training on a whole row is: (token, the token after it)."""
    tokens = [(row + 1) * WIDEST + token for token in range(1, scenario.lengths[row] + 1)]
    return list(pairwise([BOS, *tokens, BOS]))


def check(scenario, ranks):
    """What holds for every run; `ranks` is what each rank of the site said of it."""
    works = ranks[0]["works"]
    trained = Counter(
        tuple(each) for found in ranks for step in found["steps"] for one in step for each in one
    )
    done = [row for work in works for first, last in work["rows"] for row in range(first, last)]
    wanted = Counter(chain.from_iterable(targets_of(scenario, row) for row in done))
    left_open = {row: tokens for work in works for row, tokens in work["open"] if row not in done}
    for row, tokens in left_open.items():
        wanted.update(targets_of(scenario, row)[:tokens])
    assert trained == wanted, "what was trained is not what the site says of it"
    if not any(found["left"] for found in ranks):
        assert sorted(done) == list(range(len(scenario.lengths))), "a row was lost, or done twice"
    assert sum(work["tokens"] for work in works) == sum(wanted.values())
    assert all(found["works"] == works for found in ranks)
    assert len({len(found["steps"]) for found in ranks}) == 1, "ranks did not take their steps together"


@given(scenarios, st.integers(1, 4))
def test_every_row_is_in_the_passes_of_its_steps_once(scenario, passes):
    found = play(scenario, OneRank(), passes)
    check(scenario, [found])
    assert all(len(step) <= passes for step in found["steps"])


def test_a_round_ends_inside_a_row_with_its_last_step_whole():
    scenario = Scenario(lengths=(100,), steps=2, placed=True)
    found = play(scenario, OneRank(), 3)
    tokens = 2 * 3 * 4
    assert [work["open"] for work in found["works"][:2]] == [((0, tokens),), ((0, 2 * tokens),)]
    assert [len(step) for step in found["steps"]] == [3] * 8 + [2]
    check(scenario, [found])


@pytest.fixture(scope="module")
def two(nursery, tmp_path_factory):
    """Each run, and what each of two ranks said of it."""
    script, folder = Path(__file__).with_name("steps_ranks.py"), tmp_path_factory.mktemp("two")
    found = run_ranks(nursery, script, 2, str(RUNS), str(PASSES), output=folder)
    return [(drawn(seed, ranks=2), [rank[seed] for rank in found]) for seed in range(RUNS)]


@pytest.mark.integration
def test_two_ranks_train_every_row_once_in_steps_of_several_passes(two):
    for scenario, ranks in two:
        check(scenario, ranks)


@pytest.mark.integration
def test_a_rank_may_have_fewer_passes_in_a_step_than_the_other(two):
    together = [
        (len(a), len(b))
        for _, (first, second) in two
        for a, b in zip(first["steps"], second["steps"], strict=True)
    ]
    assert {(PASSES, 1), (1, PASSES)} & set(together)
    assert (PASSES, PASSES) in together
