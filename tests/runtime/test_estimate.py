"""A site's estimate of the whole run's tokens inside a round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.membership.records import Commit, Work
from curtail_dist.runtime.estimate import tokens_by_now

TOKENS = 1_000_000


def head(speeds, sizes, sites=None):
    work = tuple(Work(site=site, tokens=size * 10, steps=10, rows=()) for site, size in sizes.items())
    return Commit(
        version=3,
        hash="h3",
        parent="h2",
        epoch=1,
        total_rows=10,
        tokens=TOKENS,
        work=work,
        sites=tuple(speeds if sites is None else sites),
        speeds=speeds,
    )


def test_sites_of_unequal_speed_read_the_same_in_mid_round():
    record = head({"fast": 2.0, "slow": 1.0}, {"fast": 2048, "slow": 2048})
    fast, slow = 20 * 2048, 10 * 2048
    assert tokens_by_now(record, "fast", done=fast, members=2) == TOKENS + fast + slow
    assert tokens_by_now(record, "slow", done=slow, members=2) == TOKENS + fast + slow


def test_a_site_of_more_ranks_counts_for_more():
    record = head({"one": 1.0, "eight": 1.0}, {"one": 1000, "eight": 8000})
    assert tokens_by_now(record, "one", done=5000, members=2) == TOKENS + 45_000
    assert tokens_by_now(record, "eight", done=40_000, members=2) == TOKENS + 45_000


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.floats(0.01, 100), st.integers(1, 10**6)),
        min_size=1,
    ),
    st.floats(1, 1000),
)
def test_who_trains_as_planned_reads_what_all_have_done(sites, seconds):
    speeds = {name: speed for name, (speed, _) in sites.items()}
    record = head(speeds, {name: size for name, (_, size) in sites.items()})
    done = {name: speed * size * seconds for name, (speed, size) in sites.items()}
    whole = sum(done.values())
    for name in sites:
        read = tokens_by_now(record, name, done=done[name], members=len(sites))
        assert read - TOKENS == pytest.approx(whole, rel=1e-6, abs=1)


def test_before_the_first_commit_all_are_taken_to_be_alike():
    record = head({}, {}, sites=("a", "b", "c"))
    assert tokens_by_now(record, "b", done=500, members=3) == TOKENS + 1500


def test_a_joiner_that_was_never_measured_counts_as_the_mean():
    record = head({"a": 1.0, "b": 3.0}, {"a": 100, "b": 100}, sites=("a", "b", "new"))
    assert tokens_by_now(record, "a", done=100, members=3) == TOKENS + 100 + 300 + 200


def test_a_member_that_was_lost_since_does_not_count():
    record = head({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 100, "b": 100, "c": 100})
    assert tokens_by_now(record, "a", done=100, members=2) == TOKENS + 200


def test_a_site_that_left_long_ago_does_not_count():
    record = head({"a": 1.0, "gone": 9.0}, {"a": 100}, sites=("a",))
    assert tokens_by_now(record, "a", done=100, members=1) == TOKENS + 100


def test_a_rewind_that_named_nobody_leaves_a_site_its_own_share():
    record = head({"a": 1.0}, {}, sites=())
    assert tokens_by_now(record, "a", done=100, members=1) == TOKENS + 100
