"""What members write for each other: it survives store and network, and another schema is refused."""

import pytest
from facts import HEAD, card, epoch, member, members, rounds
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.errors import MembershipError
from curtail_dist.membership.decisions import next_commit
from curtail_dist.membership.records import (
    SCHEMA,
    Card,
    CloseRequest,
    Commit,
    Epoch,
    Presence,
    Word,
    encode,
)


@given(rounds())
def test_a_commit_survives_the_store(cards):
    record = next_commit(HEAD, epoch(*(one.work.site for one in cards)), cards, hash="h4")
    assert Commit.decode(record.encode()) == record
    assert Commit.decode(record.encode()).encode() == record.encode()


@given(st.lists(members, min_size=1, max_size=4), st.integers(1, 10**6))
def test_an_epoch_survives_the_store_with_its_ports(some, number):
    written = Epoch(number=number, members=tuple(some), reason="joined")
    read = Epoch.decode(written.encode())
    assert read == written
    assert [one.group_port for one in read.members] == [one.group_port for one in some]


@given(members, st.sampled_from(["", "h3"]), st.booleans())
def test_a_presence_survives_the_store(one, ready, parked):
    presence = Presence(member=one, ready=ready, parked=parked)
    assert Presence.decode(presence.encode()) == presence


@pytest.mark.parametrize("reaches", [None, (), ("boise", "cork")])
def test_a_word_survives_the_store_and_reaching_nobody_is_not_the_same_as_not_having_tried(reaches):
    word = Word(epoch=7, incarnation="adelaide1", reaches=reaches)
    assert Word.decode(word.encode()) == word


def test_a_request_to_end_a_round_survives_the_store():
    request = CloseRequest(epoch=7, round=4, reason="drain")
    assert CloseRequest.decode(request.encode()) == request


def test_a_card_names_the_state_that_its_work_began_from():
    """After a rewind two states can have the same number: the hash tells them apart."""
    read = Card.decode(card("adelaide", open=[(24, 17)]).encode())
    assert (read.version, read.base) == (HEAD.version, HEAD.hash)
    assert read.work.open == ((24, 17),)


def test_equal_records_have_equal_bytes():
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1}) == b'{"a":2,"b":1,"schema":3}'


@pytest.mark.parametrize("value", [b'{"schema":1}', b"{}", b"[1]", b"null"])
@pytest.mark.parametrize("kind", [Epoch, Commit, Card, Presence, Word, CloseRequest])
def test_a_record_of_another_schema_is_refused(kind, value):
    with pytest.raises(
        MembershipError, match=f"another schema than {SCHEMA}; run the same version at all sites"
    ):
        kind.decode(value)


def test_what_is_no_record_is_refused():
    with pytest.raises(MembershipError, match="not JSON"):
        Commit.decode(b"\xff not JSON")


def test_ranks_follow_the_order_of_the_epoch():
    standing = epoch("adelaide", "boise")
    assert standing.sites == ["adelaide", "boise"]
    assert [standing.rank_of(member(site)) for site in ("adelaide", "boise", "cork")] == [0, 1, None]
    assert standing.rank_of(member("adelaide", 2)) is None
