"""The inner loop at a site of one rank, and at one of two, which are real processes."""

import threading
from collections import Counter
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inner_loop_ranks import BOS, WIDEST, Rounds, Scenario, play
from together import run_ranks

from curtail_dist.errors import ConfigError
from curtail_dist.runtime.inner_loop import InnerLoop
from curtail_dist.runtime.intrasite import OneRank
from curtail_dist.runtime.open_round import BatchSource, in_lists

RUNS = 60
LATE = {True: 1, False: 2}
"""Steps after that in which a rank was asked to leave, for batches that say where they end and others: rank 0
hears of it at that step's end, so that the next may be due; what a rank holds may then make another."""


def targets_of(scenario, row):
    """What training on a whole row is."""
    tokens = [(row + 1) * WIDEST + token for token in range(1, scenario.lengths[row] + 1)]
    return list(pairwise([BOS, *tokens, BOS])) if scenario.placed else [row]


def begun(scenario, offset):
    """What training on the first tokens of a row is."""
    row, tokens = offset
    return targets_of(scenario, row)[:tokens]


def check(scenario, ranks):
    """What holds for every run; `ranks` is what each rank of the site said of it."""
    works = ranks[0]["works"]
    assert all(found["works"] == works for found in ranks)
    trained = Counter(
        tuple(each) if scenario.placed else each
        for found in ranks
        for _, batch in found["batches"]
        for each in batch
    )
    done = [row for work in works for first, last in work["rows"] for row in range(first, last)]
    wanted = Counter(chain.from_iterable(targets_of(scenario, row) for row in done))
    left_open = {row: tokens for work in works for row, tokens in work["open"] if row not in done}
    wanted.update(chain.from_iterable(begun(scenario, offset) for offset in left_open.items()))
    assert trained == wanted, "what was trained is not what the site says of it"
    if not any(found["left"] for found in ranks):
        assert sorted(done) == list(range(len(scenario.lengths)))
    steps = [[round for round, _ in found["batches"]] for found in ranks]
    assert all(rounds == steps[0] for rounds in steps), "ranks did not take their steps together"
    assert [work["steps"] for work in works] == [steps[0].count(one + 1) for one in range(len(works))]
    for together in zip(*(found["batches"] for found in ranks), strict=True):
        assert any(batch for _, batch in together), "a step without a row"


def played(scenario):
    return [play(scenario, OneRank())]


scenarios = st.builds(
    Scenario,
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=14).map(tuple),
    steps=st.integers(1, 6),
    placed=st.booleans(),
    delay=st.integers(0, 2),
    leaver=st.sampled_from([-1, 0]),
    leaves_after=st.integers(1, 8),
)


@given(scenarios)
def test_every_row_that_one_rank_takes_is_in_its_batches(scenario):
    check(scenario, played(scenario))


@given(scenarios)
def test_a_rank_alone_trains_on_no_empty_batch(scenario):
    (found,) = played(scenario)
    assert all(batch for _, batch in found["batches"])


def test_a_rank_alone_needs_no_empty_batch():
    scenario = Scenario(lengths=(3,), steps=2, placed=True)
    assert played(scenario)[0]["tokens"] == [4]


def loop_over(rows, steps):
    """A loop of one rank over a round of so many steps after the other, two rows a batch."""
    leaving, scenario = threading.Event(), Scenario(lengths=(1,) * rows, steps=steps, placed=False)
    source = BatchSource(partial(in_lists, size=2), lambda position, _: position)
    return InnerLoop(Rounds(scenario, OneRank(), leaving), OneRank(), source, empty=None, leaving=leaving)


@pytest.mark.parametrize("at", [0, 1, 2, 3], ids=["first", "last of a round", "later", "last of the run"])
def test_a_second_step_on_one_batch_is_refused(at):
    loop = loop_over(rows=8, steps=2)
    with pytest.raises(ConfigError, match=r"no batch was taken since the last step; call outer\.step\(\)"):
        for number, _ in enumerate(loop):
            loop.step_done(2)
            loop.go_on()
            if number == at:
                loop.step_done(2)
    assert number == at


def test_batches_that_are_taken_ahead_as_by_a_loaders_workers_are_refused():
    batches = iter(loop_over(rows=8, steps=2))
    next(batches)
    with pytest.raises(ConfigError, match=r"before the step on the last one; .* DataLoader with workers"):
        next(batches)


@pytest.mark.parametrize("size", [0, -1, 2.5, "4", None])
def test_a_batch_size_that_is_no_number_of_rows_is_refused(size):
    with pytest.raises(ConfigError, match=r"batch is .*; it must be a whole number, at least 1"):
        next(in_lists(iter(range(8)), size=size))


def test_a_step_before_the_first_batch_is_refused():
    with pytest.raises(ConfigError, match="no batch was taken"):
        loop_over(rows=8, steps=2).step_done(2)


def test_a_loss_belongs_to_the_step_on_the_batch_that_was_taken_last():
    loop, losses = loop_over(rows=8, steps=2), []
    for number, _ in enumerate(loop):
        round = loop.stepping
        round.losses.append(number)
        losses.append(list(round.losses))
        loop.step_done(2)
        loop.go_on()
        with pytest.raises(ConfigError, match=r"and note_loss\(\) before it, once for each batch"):
            _ = loop.stepping
    assert losses == [[0], [0, 1], [2], [2, 3]]


# Two ranks


@pytest.fixture(scope="module")
def two(nursery, tmp_path_factory):
    """What each of two ranks found."""
    script, folder = Path(__file__).with_name("inner_loop_ranks.py"), tmp_path_factory.mktemp("two")
    return run_ranks(nursery, script, 2, str(RUNS), output=folder)


@pytest.fixture(scope="module")
def runs(two):
    """Each run, and what each of two ranks said of it."""
    drawn = [Scenario.draw(seed, ranks=2) for seed in range(RUNS)]
    return list(zip(drawn, zip(*(found["played"] for found in two), strict=True), strict=True))


@pytest.mark.integration
def test_two_ranks_train_every_row_once_and_take_their_steps_together(runs):
    for scenario, ranks in runs:
        check(scenario, ranks)


@pytest.mark.integration
def test_rounds_go_on_beside_exchanges_at_both(runs):
    first, second = zip(*(ranks for _, ranks in runs), strict=True)
    landed = [found["landed"] for found in first]
    assert landed == [found["landed"] for found in second]
    assert sum(landed) > 20


@pytest.mark.integration
def test_a_rank_whose_rows_end_first_gets_empty_batches_until_the_other_is_through(runs):
    waited = Counter()
    for scenario, ranks in runs:
        for found in ranks:
            for (round, batch), (following, after) in pairwise(found["batches"]):
                more = following > round or scenario.delay  # rows come when an exchange is over
                assert batch or not after or more, "rows came after an empty batch"
            waited[scenario.placed] += sum(not batch for _, batch in found["batches"])
    assert min(waited[True], waited[False]) > 0, "no rank ever waited"


@pytest.mark.integration
def test_both_ranks_hear_how_many_tokens_a_step_had_at_both(runs):
    for _, ranks in runs:
        together = zip(*(found["batches"] for found in ranks), strict=True)
        wanted = [sum(len(batch) for _, batch in step) for step in together]
        assert all(found["tokens"] == wanted for found in ranks)
        assert sum(work["tokens"] for work in ranks[0]["works"]) == sum(wanted)


@pytest.mark.integration
@pytest.mark.parametrize("leaver", [0, 1])
def test_a_rank_that_is_asked_to_leave_ends_the_round_at_both(runs, leaver):
    ended = Counter()
    for scenario, ranks in runs:
        asked_at = scenario.leaves_after
        if scenario.leaver == leaver and len(ranks[0]["batches"]) >= asked_at:
            assert all(found["left"] for found in ranks)
            assert len(ranks[0]["batches"]) <= asked_at + LATE[scenario.placed]
            ended[scenario.placed] += 1
    assert min(ended[True], ended[False]) > 0


@pytest.mark.integration
def test_who_is_not_asked_to_leave_stays(runs):
    assert not any(found["left"] for scenario, ranks in runs if scenario.leaver == -1 for found in ranks)


@pytest.mark.integration
def test_two_ranks_without_an_empty_batch_are_refused(two):
    for found in two:
        assert found["refused"].startswith(
            "the site has 2 ranks, which take all steps together; give batches()"
        )
