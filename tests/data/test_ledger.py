import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.data.ledger import (
    SPARE_ROWS,
    Ledger,
    Staying,
    count,
    deal,
    drop,
    normalize,
    plan,
    split,
    take,
)

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


def test_an_open_row_is_not_done_and_keeps_its_offset_until_a_commit_finishes_it():
    begun = Ledger(total=10).with_done([(0, 2)], [(4, 17)])
    later = begun.with_done([(2, 4)])
    assert later.open == ((4, 17),)
    assert (later.rows_done, later.free()) == (4, ((4, 10),))
    assert later.with_done([(4, 5)]).open == ()


def test_the_offset_of_an_open_row_grows_and_does_not_go_back():
    begun = Ledger(total=10).with_done([], [(4, 17)])
    assert begun.with_done([], [(4, 18), (2, 1)]).open == ((2, 1), (4, 18))
    with pytest.raises(ValueError, match="position 4 has 16 tokens done, 17 before"):
        begun.with_done([], [(4, 16)])


def test_a_row_is_not_open_and_done_at_once():
    with pytest.raises(ValueError, match="position 4 is open and done"):
        Ledger(total=10).with_done([(3, 6)], [(4, 5)])


def test_two_members_cannot_have_one_row_open():
    with pytest.raises(ValueError, match="name a position twice"):
        Ledger(total=10).with_done([], [(4, 5), (4, 7)])


@st.composite
def commits(draw):
    """Some commits of a run of 12 rows, most of them possible: ranges done, and rows left open."""
    small = st.integers(0, 11)
    spans = st.lists(
        st.tuples(small, st.integers(1, 3)).map(lambda at: (at[0], min(12, sum(at)))), max_size=2
    )
    opened = st.dictionaries(small, st.integers(1, 4), max_size=2).map(lambda rows: tuple(rows.items()))
    return draw(st.lists(st.tuples(spans, opened), max_size=5))


def outcome(act):
    try:
        return act()
    except ValueError as error:
        return str(error)


@given(commits(), st.sets(st.integers(0, 11), max_size=3), st.sets(st.integers(0, 11), max_size=2))
def test_commits_at_once_are_as_one_after_the_other(commits, done, begun):
    ledger = Ledger(total=12).with_done(((row, row + 1) for row in done), [(row, 2) for row in begun - done])

    def in_turn():
        found = ledger
        for rows, left_open in commits:
            found = found.with_done(rows, left_open)
        return found

    at_once, one_by_one = outcome(lambda: ledger.with_all_done(commits)), outcome(in_turn)
    assert type(at_once) is type(one_by_one)
    if isinstance(one_by_one, Ledger):
        assert at_once == one_by_one


@given(
    st.sets(st.integers(0, 40)).map(lambda rows: normalize((row, row + 1) for row in rows)),
    st.lists(st.integers(0, 15), max_size=6),
)
def test_dealing_is_taking_in_turn(ranges, amounts):
    left, expected = ranges, []
    for amount in amounts:
        expected.append(take(left, amount))
        left = drop(left, amount)
    assert deal(ranges, amounts) == expected


@pytest.mark.parametrize("offset", [(10, 3), (-1, 3), (4, 0)])
def test_an_open_row_outside_of_the_run_or_without_tokens_is_refused(offset):
    with pytest.raises(ValueError, match="positions must be in range, and at least 1 token"):
        Ledger(total=10, open=(offset,))


@given(st.sets(st.integers(0, 60)), st.integers(61, 80))
def test_done_and_free_split_the_run_exactly(done, total):
    ledger = Ledger(total=total).with_done((position, position + 1) for position in done)
    assert sorted(covered(ledger.done) + covered(ledger.free())) == list(range(total))
    assert ledger.rows_done == len(done)
    assert ledger.complete == (len(done) == total)


@given(
    done=st.sets(st.integers(0, 99)),
    begun=st.dictionaries(st.integers(0, 99), st.integers(1, 1000), max_size=5),
    members=st.lists(st.sampled_from(SITES), min_size=1, unique=True),
    speeds=st.dictionaries(st.sampled_from(SITES), st.floats(0.1, 10)),
    steps=st.integers(1, 30),
    rows_per_step=st.one_of(st.none(), st.floats(0.1, 8)),
)
def test_a_plan_gives_free_rows_to_one_member_each(done, begun, members, speeds, steps, rows_per_step):
    left_open = {position: tokens for position, tokens in begun.items() if position not in done}
    ledger = Ledger(total=100).with_done(((row, row + 1) for row in done), left_open.items())
    assigned = plan(ledger, members, speeds=speeds, steps=steps, rows_per_step=rows_per_step)
    rows = [position for assignment in assigned.values() for position in covered(assignment.rows)]
    assert len(rows) == len(set(rows))
    assert set(rows) <= set(covered(ledger.free()))
    assert list(assigned) == members
    assert all((assignment.steps > 0) == bool(assignment.rows) for assignment in assigned.values())
    for assignment in assigned.values():
        mine = covered(assignment.rows)
        assert dict(assignment.open) == {row: left_open[row] for row in mine if row in left_open}
    in_order = sorted(left_open) + sorted(set(covered(ledger.free())) - set(left_open))
    assert rows == in_order[: len(rows)]


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


@given(st.integers(20, 60), st.floats(1.0, 5.0))
def test_a_fast_site_idles_less_than_a_twentieth_of_a_round_of_20_slow_steps_or_more(slow_steps, ratio):
    steps = round(slow_steps * ratio)
    speeds = {"fast": ratio, "slow": 1.0}
    assigned = plan(Ledger(total=10_000), list(speeds), speeds=speeds, steps=steps, rows_per_step=0.01)
    took = {site: assigned[site].steps / speed for site, speed in speeds.items()}
    idle = max(took.values()) - min(took.values())
    assert idle < 0.05 * max(took.values())


def test_sites_at_two_to_one_finish_together():
    speeds = {"a": 3.0, "b": 1.5}
    assigned = plan(Ledger(total=10_000), ["a", "b"], speeds=speeds, steps=40, rows_per_step=1.0)
    assert [assigned[site].steps / speed for site, speed in speeds.items()] == [40 / 3, 40 / 3]


def test_the_slowest_site_does_at_least_one_step():
    speeds = {"a": 1000.0, "b": 1.0}
    assigned = plan(Ledger(total=10_000), ["a", "b"], speeds=speeds, steps=10, rows_per_step=1.0)
    assert assigned["b"].steps == 1


def test_open_rows_come_first_though_others_stand_before_them():
    ledger = Ledger(total=1000).with_done([(0, 10)], [(40, 7), (15, 3)])
    assigned = plan(ledger, ["a", "b"], speeds={}, steps=2, rows_per_step=1.0)
    assert assigned["a"].rows == ((15, 16), (40, 41), (10, 15))
    assert assigned["a"].open == ((15, 3), (40, 7))
    assert (assigned["b"].rows, assigned["b"].open) == (((16, 23),), ())


def test_a_row_longer_than_all_rounds_so_far_leaves_every_member_rows():
    ledger = Ledger(total=1000).with_done([], [(0, 10_000), (4, 9_000)])
    assigned = plan(ledger, SITES, speeds={}, steps=20, rows_per_step=0.0)
    assert all(count(assignment.rows) >= 1 for assignment in assigned.values())


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


# A site's rows among its ranks


def planned(total, done, begun, *, steps, rows_per_step):
    """What a site alone is assigned where some rows are done and others begun."""
    left_open = {row: tokens for row, tokens in begun.items() if row < total and row not in done}
    spans = ((row, row + 1) for row in done if row < total)
    ledger = Ledger(total=total).with_done(spans, left_open.items())
    return plan(ledger, ["a"], speeds={}, steps=steps, rows_per_step=rows_per_step)["a"]


parts = st.integers(1, 9)
plans = st.builds(
    planned,
    total=st.integers(1, 100),
    done=st.sets(st.integers(0, 99)),
    begun=st.dictionaries(st.integers(0, 99), st.integers(1, 1000), max_size=12),
    steps=st.integers(1, 30),
    rows_per_step=st.none() | st.floats(0.0, 3.0),
)


@given(plans, parts)
def test_the_ranks_of_a_site_share_its_rows_and_take_all_its_steps(whole, ranks):
    shares = split(whole, ranks)
    assert len(shares) == ranks
    assert all(share.steps == whole.steps for share in shares)
    assert sorted(row for share in shares for row in covered(share.rows)) == sorted(covered(whole.rows))


@given(plans, parts)
def test_an_open_row_comes_first_at_its_rank_and_goes_on_where_it_was_left(whole, ranks):
    shares = split(whole, ranks)
    assert sorted(offset for share in shares for offset in share.open) == sorted(whole.open)
    for share in shares:
        assert covered(share.rows)[: len(share.open)] == [row for row, _ in share.open]
        rest = covered(share.rows)[len(share.open) :]
        assert not set(rest) & {row for row, _ in whole.open}


@given(plans, parts)
def test_ranks_get_equal_numbers_of_open_rows_and_of_others_as_far_as_whole_rows_allow(whole, ranks):
    shares = split(whole, ranks)
    begun = [len(share.open) for share in shares]
    sizes = [count(share.rows) for share in shares]
    others = [size - opened for size, opened in zip(sizes, begun, strict=True)]
    assert max(begun) - min(begun) <= 1
    assert max(others) - min(others) <= 1
    assert max(sizes) - min(sizes) <= 1 + (max(begun) - min(begun))


@given(plans, parts)
def test_each_rank_gets_a_block_so_that_what_it_leaves_is_in_one_piece(whole, ranks):
    others = covered(whole.rows)[len(whole.open) :]
    blocks = [covered(share.rows)[len(share.open) :] for share in split(whole, ranks)]
    assert [row for block in blocks for row in block] == others


@given(plans)
def test_a_site_of_one_rank_keeps_its_assignment(whole):
    assert split(whole, 1) == [whole]


# Sites whose steps are of unequal size


@given(
    ratio=st.floats(1.0, 8.0),
    steps=st.integers(1, 60),
    rows_per_step=st.floats(0.1, 20.0),
    tokens=st.floats(1.0, 1e6),
)
def test_rows_follow_the_tokens_of_a_step_and_steps_do_not(ratio, steps, rows_per_step, tokens):
    sizes = {"a": tokens, "b": ratio * tokens}
    assigned = plan(
        Ledger(total=10**6),
        ["a", "b"],
        speeds={},
        steps=steps,
        rows_per_step=rows_per_step,
        step_tokens=sizes,
    )
    rows = {site: count(assignment.rows) - SPARE_ROWS for site, assignment in assigned.items()}
    assert [assignment.steps for assignment in assigned.values()] == [steps, steps]
    # Whole rows alone make the difference: less than one at each.
    assert -1.0 - 1e-6 < rows["b"] - ratio * rows["a"] < ratio + 1e-6


def test_a_site_that_takes_twice_the_tokens_a_step_gets_twice_the_rows():
    sizes = {"a": 512.0, "b": 1024.0}
    assigned = plan(
        Ledger(total=10_000), ["a", "b"], speeds={}, steps=40, rows_per_step=6.0, step_tokens=sizes
    )
    rows = {site: count(assignment.rows) - SPARE_ROWS for site, assignment in assigned.items()}
    assert rows == {"a": 240, "b": 480}


@given(
    left=st.integers(1, 5000),
    sizes=st.lists(st.floats(1.0, 1e4), min_size=3, max_size=3),
    speeds=st.lists(st.floats(0.1, 10.0), min_size=3, max_size=3),
    everything=st.booleans(),
)
def test_when_rows_run_out_each_site_gets_as_many_as_it_takes_in_equal_time(left, sizes, speeds, everything):
    by_site, speed = dict(zip(SITES, sizes, strict=True)), dict(zip(SITES, speeds, strict=True))
    assigned = plan(
        Ledger(total=10_000).with_done([(0, 10_000 - left)]),
        SITES,
        speeds=speed,
        steps=100,
        rows_per_step=None if everything else 10_000.0,
        step_tokens=by_site,
    )
    rate = {site: by_site[site] * speed[site] for site in SITES}
    for site, assignment in assigned.items():
        share = left * rate[site] / sum(rate.values())
        assert abs(count(assignment.rows) - share) <= 1.0 + 1e-6


def test_a_site_whose_steps_are_not_known_yet_gets_rows_as_the_mean_of_the_others():
    sizes = {"a": 100.0, "b": 300.0}
    assigned = plan(Ledger(total=10_000), SITES, speeds={}, steps=10, rows_per_step=4.0, step_tokens=sizes)
    rows = {site: count(assignment.rows) - SPARE_ROWS for site, assignment in assigned.items()}
    assert rows == {"a": 30, "b": 90, "c": 60}


def test_the_sizes_of_sites_that_have_left_still_say_what_a_mean_step_is():
    """Rows a step are those of the head's sites, which need not be those that go on."""
    sizes = {"a": 100.0, "gone": 300.0}
    assigned = plan(Ledger(total=10_000), ["a"], speeds={}, steps=10, rows_per_step=4.0, step_tokens=sizes)
    assert count(assigned["a"].rows) - SPARE_ROWS == 30


def test_rows_that_stay_with_a_member_come_first_and_go_to_nobody_else():
    ledger = Ledger(total=200, done=((0, 10),), open=((12, 5), (50, 9)))
    staying = Staying(rows={"b": ((11, 15), (80, 82))}, delay=0)
    assigned = plan(ledger, ["a", "b"], speeds={}, steps=4, rows_per_step=2.0, staying=staying)
    assert (covered(assigned["b"].rows))[:6] == [11, 12, 13, 14, 80, 81]
    assert (12, 5) in assigned["b"].open
    assert not set(covered(assigned["a"].rows)) & {11, 12, 13, 14, 80, 81}
    assert covered(assigned["a"].rows)[0] == 50, "a row that is begun comes before the others"


def test_steps_done_ahead_do_not_shorten_what_is_planned():
    ledger, rows = Ledger(total=1000), {"a": ((0, 8),)}
    short = plan(ledger, ["a"], speeds={}, steps=4, rows_per_step=2.0, staying=Staying(rows=rows))
    whole = plan(ledger, ["a"], speeds={}, steps=4, rows_per_step=2.0, staying=Staying(rows=rows, delay=4))
    assert (short["a"].steps, whole["a"].steps) == (4, 4)
    assert count(whole["a"].rows) - 8 >= 4 * 2.0, "the 8 rows are taken by now"
    assert count(whole["a"].rows) > count(short["a"].rows)
