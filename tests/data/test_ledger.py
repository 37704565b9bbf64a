import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.data.ledger import Ledger, count, normalize, plan, take

SITES = ["a", "b", "c"]


def covered(ranges):
    return [position for first, last in ranges for position in range(first, last)]


def test_a_row_cannot_be_done_twice():
    ledger = Ledger(total=10).with_done([(2, 5)])
    with pytest.raises(ValueError, match="two ranges"):
        ledger.with_done([(4, 6)])


def test_a_row_outside_the_run_is_refused():
    with pytest.raises(ValueError, match="positions must be in range"):
        Ledger(total=10).with_done([(8, 11)])


def test_neighbouring_ranges_become_one():
    assert normalize([(5, 7), (0, 5), (9, 10)]) == ((0, 7), (9, 10))


@given(st.sets(st.integers(0, 60)), st.integers(61, 80))
def test_done_and_free_split_the_run_exactly(done, total):
    ledger = Ledger(total=total).with_done((position, position + 1) for position in done)
    assert sorted(covered(ledger.done) + covered(ledger.free())) == list(range(total))
    assert ledger.rows_done == len(done)
    assert ledger.complete == (len(done) == total)


@given(
    done=st.sets(st.integers(0, 99)),
    members=st.lists(st.sampled_from(SITES), min_size=1, unique=True),
    speeds=st.dictionaries(st.sampled_from(SITES), st.floats(0.1, 10)),
    steps=st.integers(1, 30),
    rows_per_step=st.one_of(st.none(), st.floats(0.1, 8)),
)
def test_a_plan_gives_free_rows_to_one_member_each(done, members, speeds, steps, rows_per_step):
    ledger = Ledger(total=100).with_done((position, position + 1) for position in done)
    assigned = plan(ledger, members, speeds=speeds, steps=steps, rows_per_step=rows_per_step)
    rows = [position for assignment in assigned.values() for position in covered(assignment.rows)]
    assert len(rows) == len(set(rows))
    assert set(rows) <= set(covered(ledger.free()))
    assert list(assigned) == members
    assert all((assignment.steps > 0) == bool(assignment.rows) for assignment in assigned.values())


@given(st.integers(1, 40), st.lists(st.sampled_from(SITES), min_size=1, unique=True))
def test_a_plan_leaves_nothing_over_when_rows_run_out(left, members):
    ledger = Ledger(total=100).with_done([(0, 100 - left)])
    assigned = plan(ledger, members, speeds={}, steps=50, rows_per_step=4.0)
    assert count(span for assignment in assigned.values() for span in assignment.rows) == left


def test_steps_follow_the_measured_speeds():
    assigned = plan(
        Ledger(total=10_000), ["a", "b"], speeds={"a": 2.0, "b": 1.0}, steps=40, rows_per_step=1.0
    )
    assert (assigned["a"].steps, assigned["b"].steps) == (40, 20)


def test_a_newcomer_counts_as_the_mean_of_the_known():
    speeds = {"a": 2.0, "b": 4.0}
    assigned = plan(Ledger(total=10_000), ["a", "b", "c"], speeds=speeds, steps=40, rows_per_step=1.0)
    assert assigned["c"].steps == 30


def test_the_same_record_gives_the_same_plan():
    ledger = Ledger(total=500, done=((3, 70), (200, 320)))
    plans = [plan(ledger, SITES, speeds={"a": 1.3}, steps=7, rows_per_step=2.5) for _ in range(2)]
    assert plans[0] == plans[1]


@given(st.integers(0, 30))
def test_taking_gives_the_first_rows(amount):
    ranges = ((0, 5), (10, 20))
    assert covered(take(ranges, amount)) == covered(ranges)[:amount]
