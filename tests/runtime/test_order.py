"""What rank 0 tells the others before a round: it comes as it was said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.data.ledger import Assignment, Ledger, plan, split
from curtail_dist.errors import MembershipError
from curtail_dist.membership.records import SCHEMA, Commit, Work
from curtail_dist.runtime.order import Order

positions = st.integers(0, 10**12)
ranges = st.tuples(positions, st.integers(1, 10**6)).map(lambda span: (span[0], span[0] + span[1]))
offsets = st.tuples(positions, st.integers(1, 10**9))
assignments = st.builds(
    Assignment,
    rows=st.lists(ranges, max_size=4).map(tuple),
    steps=st.integers(0, 10**6),
    open=st.lists(offsets, max_size=3).map(tuple),
)
works = st.builds(
    Work,
    site=st.text(max_size=8),
    tokens=st.integers(0, 2**62),
    steps=st.integers(0, 10**6),
    rows=st.lists(ranges, max_size=3).map(tuple),
    open=st.lists(offsets, max_size=3).map(tuple),
)


@st.composite
def commits(draw):
    """Heads with a ledger that holds, whatever else stands in them."""
    done = draw(st.sets(st.integers(0, 40)))
    begun = dict.fromkeys(draw(st.sets(st.integers(41, 60), max_size=3)), 7)
    ledger = Ledger(total=61).with_done(((row, row + 1) for row in done), begun.items())
    return Commit(
        version=draw(st.integers(0, 10**6)),
        hash=draw(st.text("0123456789abcdef", max_size=8)),
        parent=draw(st.text(max_size=8)),
        epoch=draw(st.integers(0, 10**6)),
        total_rows=ledger.total,
        done=ledger.done,
        open=ledger.open,
        tokens=draw(st.integers(0, 2**62)),
        work=tuple(draw(st.lists(works, max_size=3))),
        sites=tuple(draw(st.lists(st.text(max_size=8), max_size=3))),
        speeds=draw(st.dictionaries(st.text(max_size=8), st.floats(0, 1e6), max_size=3)),
    )


orders = st.builds(
    Order,
    head=st.none() | commits(),
    members=st.integers(0, 10**4),
    assignments=st.lists(assignments, max_size=4).map(tuple),
    now=st.floats(0, 1e12),
    forget_inner=st.booleans(),
    resume_inner=st.booleans(),
    left_at=st.none() | st.floats(0, 1e12),
    keep_inner=st.booleans(),
    givers=st.lists(st.tuples(st.text(max_size=9), st.integers(0, 65_535)), max_size=3).map(tuple),
)


@given(orders)
def test_an_order_comes_as_it_was_said(order):
    assert Order.decode(order.encode()) == order


def test_a_site_that_never_came_in_is_told_so():
    order = Order(head=None, members=0, now=0.0)
    heard = Order.decode(order.encode())
    assert heard.head is None
    assert list(heard.assignments) == []
    assert (heard.forget_inner, heard.resume_inner, heard.keep_inner) == (False, False, False)


@given(st.integers(1, 8), st.integers(0, 60))
def test_each_rank_hears_its_part_of_the_plan(ranks, done):
    ledger = Ledger(total=100).with_done([(0, done)] if done else [], [(80, 12), (90, 3)])
    parts = tuple(split(plan(ledger, ["a"], speeds={}, steps=5, rows_per_step=2.0)["a"], ranks))
    heard = Order.decode(Order(head=None, members=1, assignments=parts, now=1.5).encode())
    assert heard.assignments == parts
    assert all(isinstance(span, tuple) for part in heard.assignments for span in part.rows)


def test_an_order_on_a_head_of_another_schema_is_refused():
    head = Commit(version=1, hash="h1", parent="h0", epoch=1, total_rows=10)
    raw = json.loads(Order(head=head, members=1, now=0.0).encode())
    raw["head"] = raw["head"].replace(f'"schema":{SCHEMA}', f'"schema":{SCHEMA + 1}')
    with pytest.raises(MembershipError, match=f"another schema than {SCHEMA}"):
        Order.decode(json.dumps(raw).encode())
