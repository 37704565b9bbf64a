"""When an answer shows that the store was replaced, and when it only came late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.coordination.continuity import Continuity
from curtail_dist.errors import CoordinationError, StoreReplaced, StoreUnavailable

WHERE = "etcd at 10.0.0.1:2379"


def seen(revision: int, cluster: int = 0xA) -> Continuity:
    continuity = Continuity()
    continuity.confirm(WHERE, cluster, revision, begun=continuity.begin())
    return continuity


def test_the_first_answer_says_which_store_it_is():
    continuity = Continuity()
    assert not continuity.known
    continuity.confirm(WHERE, 0xB, 1, begun=continuity.begin())
    assert continuity.known
    assert continuity.begin() == 1


def test_an_older_revision_is_a_store_that_was_set_back():
    continuity = seen(92)
    with pytest.raises(StoreReplaced) as raised:
        continuity.confirm(WHERE, 0xA, 57, begun=continuity.begin())
    assert str(raised.value) == (
        "etcd at 10.0.0.1:2379 is cluster a at revision 57; it must be cluster a at revision 92 or later, "
        "which this process has seen: stop all sites, then bring the newest data directory back, or have "
        "`curtail recover` begin a new chain from the newest snapshot"
    )


def test_another_cluster_is_another_store_whatever_its_revision():
    continuity = seen(92)
    with pytest.raises(StoreReplaced, match=r"is cluster b at revision 1000; it must be cluster a"):
        continuity.confirm(WHERE, 0xB, 1000, begun=continuity.begin())


def test_where_a_member_may_lag_only_the_cluster_counts():
    continuity = seen(92)
    continuity.confirm(WHERE, 0xA, 57, begun=0)
    assert continuity.begin() == 92
    with pytest.raises(StoreReplaced):
        continuity.confirm(WHERE, 0xB, 57, begun=0)


def test_an_answer_that_was_overtaken_is_no_older_state():
    continuity = seen(5)
    slow = continuity.begin()
    continuity.confirm(WHERE, 0xA, 9, begun=continuity.begin())
    continuity.confirm(WHERE, 0xA, 6, begun=slow)
    assert continuity.begin() == 9


def test_what_broke_stays_broken():
    continuity = seen(5)
    with pytest.raises(StoreReplaced) as first:
        continuity.confirm(WHERE, 0xA, 4, begun=5)
    with pytest.raises(StoreReplaced) as second:
        continuity.begin()
    assert str(first.value) == str(second.value)


def test_nobody_who_retries_an_outage_retries_a_replaced_store():
    assert issubclass(StoreReplaced, CoordinationError)
    assert not issubclass(StoreReplaced, StoreUnavailable)


@given(st.lists(st.sampled_from(["write", "begin", "serve", "end"]), max_size=60), st.randoms())
def test_no_order_of_answers_of_one_store_breaks_it(events, random):
    continuity = Continuity()
    revision = 1
    begun: list[int] = []
    served: list[tuple[int, int]] = []
    for event in events:
        if event == "write":
            revision += 1
        elif event == "begin":
            begun.append(continuity.begin())
        elif event == "serve" and begun:
            served.append((begun.pop(random.randrange(len(begun))), revision))
        elif event == "end" and served:
            at_least, answered = served.pop(random.randrange(len(served)))
            continuity.confirm(WHERE, 0xA, answered, begun=at_least)
