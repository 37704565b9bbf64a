import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.data.order import BLOCK_ROWS, RowOrder, order_name

SHARDS = st.lists(st.integers(1, 3 * BLOCK_ROWS), min_size=1, max_size=6)


def rows_of(order, which=0):
    return [order.row(position) for position in range(which * order.rows, (which + 1) * order.rows)]


@given(shards=SHARDS, seed=st.integers(0, 99))
def test_each_pass_has_every_row_once(shards, seed):
    order = RowOrder(shards, passes=2, seed=seed)
    assert order.total == 2 * sum(shards)
    assert sorted(rows_of(order)) == sorted(rows_of(order, 1)) == list(range(sum(shards)))


def test_passes_and_seeds_give_other_orders_and_the_same_ones_the_same():
    orders = [RowOrder([40, 30], passes=2, seed=seed) for seed in (1, 1, 2)]
    assert rows_of(orders[0]) == rows_of(orders[1]) != rows_of(orders[2])
    assert rows_of(orders[0]) != rows_of(orders[0], 1)


def test_a_numpy_that_draws_otherwise_has_an_order_of_another_name(monkeypatch):
    here = order_name()
    assert here == order_name()
    other = lambda seed: np.random.Generator(np.random.MT19937(seed))  # noqa: E731
    monkeypatch.setattr("numpy.random.default_rng", other)
    there = order_name()
    assert there != here
    assert there.partition(":")[0] == here.partition(":")[0]


@given(shards=SHARDS, seed=st.integers(0, 99))
def test_a_pass_does_one_block_of_one_shard_after_the_other(shards, seed):
    firsts = np.cumsum([0, *shards])
    blocks = []
    for row in rows_of(RowOrder(shards, passes=1, seed=seed)):
        shard = int(np.searchsorted(firsts, row, side="right")) - 1
        block = (shard, (row - int(firsts[shard])) // BLOCK_ROWS)
        if not blocks or blocks[-1] != block:
            blocks.append(block)
    assert len(blocks) == len(set(blocks)) == sum(-(-size // BLOCK_ROWS) for size in shards)
    shards_met = [shard for shard, _ in blocks]
    assert shards_met == sorted(shards_met, key=shards_met.index)


def test_it_does_not_matter_in_which_order_positions_are_asked_for():
    shards = [1_500, 20, 2_000]
    forward = rows_of(RowOrder(shards, passes=2, seed=3))
    order = RowOrder(shards, passes=2, seed=3)
    jumping = np.random.default_rng(0).permutation(order.rows)
    for position in jumping.tolist():
        order.row(order.rows + position)  # the other pass between
        assert order.row(position) == forward[position]


@given(shards=SHARDS, seed=st.integers(0, 99), data=st.data())
def test_the_shards_of_ranges_are_those_of_their_rows_in_order(shards, seed, data):
    order = RowOrder(shards, passes=2, seed=seed)
    edges = sorted(data.draw(st.sets(st.integers(0, order.total), min_size=2, max_size=8)))
    ranges = list(zip(edges[::2], edges[1::2], strict=False))
    firsts = np.cumsum([0, *shards])
    rows = (order.row(position) for first, last in ranges for position in range(first, last))
    met = dict.fromkeys(int(np.searchsorted(firsts, row, side="right")) - 1 for row in rows)
    assert list(order.shards_of(ranges)) == list(met)


def test_what_comes_next_is_found_without_going_through_all_rows():
    order = RowOrder([53_248] * 1_823, passes=10, seed=1)
    shards = order.shards_of([(0, order.total)])
    first = [next(shards) for _ in range(3)]
    assert first[0] == order.row(0) // 53_248 and len(set(first)) == 3


def test_rows_of_a_block_are_shuffled():
    rows = rows_of(RowOrder([BLOCK_ROWS], passes=1, seed=1))
    assert rows != sorted(rows)
    assert np.corrcoef(rows, range(BLOCK_ROWS))[0, 1] == pytest.approx(0, abs=0.15)
