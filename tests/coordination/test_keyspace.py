"""The contents of a store in passed-in time: the same calls give the same answers, to the last id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.coordination import Change, Keyspace
from curtail_dist.errors import LeaseExpired, StoreUnavailable


def history(keyspace: Keyspace) -> list[tuple[int, str, bytes | None]]:
    return [
        (change.revision, change.key, change.entry.value if change.entry else None)
        for change in keyspace.changes_since(0)
    ]


def test_a_lease_ends_exactly_when_its_time_is_over():
    keyspace = Keyspace()
    lease = keyspace.grant(2.0)
    keyspace.put("leased", b"", lease=lease)
    assert keyspace.next_end == 2.0
    keyspace.advance(1.999)
    assert keyspace.get("leased") is not None
    keyspace.advance(2.0)
    assert keyspace.get("leased") is None
    assert keyspace.next_end is None
    with pytest.raises(LeaseExpired):
        keyspace.keep_alive(lease)


def test_a_renewed_lease_ends_its_full_time_later():
    keyspace = Keyspace()
    lease = keyspace.grant(2.0)
    keyspace.advance(1.5)
    keyspace.keep_alive(lease)
    assert keyspace.next_end == 3.5
    keyspace.advance(3.0)
    keyspace.keep_alive(lease)
    keyspace.advance(5.0)
    with pytest.raises(LeaseExpired):
        keyspace.put("a", b"", lease=lease)


def test_leases_end_in_the_order_of_their_times_each_in_one_revision():
    keyspace = Keyspace()
    late, early = keyspace.grant(3.0), keyspace.grant(2.0)
    for key, lease in (("b", late), ("a", late), ("c", early)):
        keyspace.put(key, b"", lease=lease)
    before = keyspace.revision
    keyspace.advance(10.0)
    assert keyspace.changes_since(before) == [
        Change(key="c", entry=None, revision=before + 1),
        Change(key="a", entry=None, revision=before + 2),
        Change(key="b", entry=None, revision=before + 2),
    ]


def test_time_does_not_run_backwards():
    keyspace = Keyspace(now=5.0)
    keyspace.advance(1.0)
    keyspace.grant(1.0)
    assert keyspace.next_end == 6.0


def test_an_extended_lease_has_its_full_time_again():
    keyspace = Keyspace()
    keyspace.grant(2.0)
    keyspace.advance(1.5)
    keyspace.extend_leases()
    assert keyspace.next_end == 3.5


def test_changes_since_a_revision_are_all_later_ones_and_no_earlier():
    keyspace = Keyspace()
    revisions = [keyspace.put("a", b"%d" % number) for number in range(5)]
    assert [change.revision for change in keyspace.changes_since(revisions[2])] == revisions[3:]
    assert list(keyspace.changes_since(revisions[4])) == []
    assert list(keyspace.changes_since(revisions[4] + 7)) == []


def test_compacted_changes_are_unavailable_and_the_rest_is_there():
    keyspace = Keyspace()
    revisions = [keyspace.put("a", b"%d" % number) for number in range(5)]
    keyspace.compact(revisions[3])
    assert [change.revision for change in keyspace.changes_since(revisions[2])] == revisions[3:]
    with pytest.raises(StoreUnavailable, match="list again"):
        keyspace.changes_since(revisions[1])


def test_a_copy_does_not_follow():
    keyspace = Keyspace()
    lease = keyspace.grant(2.0)
    keyspace.put("a", b"1", lease=lease)
    copy = keyspace.copy()
    keyspace.put("a", b"2")
    keyspace.revoke(lease)
    assert copy.get("a").value == b"1"
    assert len(copy.changes_since(0)) == 1
    copy.keep_alive(lease)


def test_who_stands_in_never_gives_a_lease_id_again():
    keyspace = Keyspace()
    backup = keyspace.copy()
    given_before = keyspace.grant(2.0)
    backup.stand_in_for(keyspace)
    assert backup.grant(2.0) != given_before


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["put", "leased", "delete", "grant", "keep_alive", "revoke", "advance", "swap"]),
        st.integers(0, 4),
    ),
    max_size=80,
)


def play(calls: list[tuple[str, int]]) -> Keyspace:
    keyspace, now = Keyspace(), 0.0
    for call, number in calls:
        key = f"k{number}"
        try:
            match call:
                case "put":
                    keyspace.put(key, b"%d" % number)
                case "leased":
                    keyspace.put(key, b"leased", lease=number + 1)
                case "delete":
                    keyspace.delete(key)
                case "grant":
                    keyspace.grant(1.0 + number)
                case "keep_alive":
                    keyspace.keep_alive(number + 1)
                case "revoke":
                    keyspace.revoke(number + 1)
                case "swap":
                    entry = keyspace.get(key)
                    keyspace.transact(compare={key: entry.revision if entry else 0}, puts={key: b"swapped"})
                case _:
                    now += number / 2
                    keyspace.advance(now)
        except LeaseExpired:
            continue
    return keyspace


@given(CALLS)
def test_the_same_calls_give_the_same_history(calls):
    first, second = play(calls), play(calls)
    assert history(first) == history(second)
    assert (first.next_end, first.revision) == (second.next_end, second.revision)


@given(CALLS)
def test_the_history_replayed_gives_the_contents(calls):
    keyspace = play(calls)
    entries = {}
    for change in keyspace.changes_since(0):
        if change.entry is None:
            del entries[change.key]
        else:
            entries[change.key] = change.entry
    assert tuple(entries[key] for key in sorted(entries)) == keyspace.list("").entries
