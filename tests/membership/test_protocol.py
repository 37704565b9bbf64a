"""The decisions of the membership protocol, and the records they are made from."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.errors import MembershipError
from curtail_dist.membership.protocol import (
    admit,
    contributes,
    living,
    next_commit,
    ready_joiners,
    release,
    survivors,
    undecided,
)
from curtail_dist.membership.records import Card, Commit, Epoch, Member, Presence, Work, decode, encode

NAMES = ["adelaide", "boise", "cork", "delft"]


def member(site, life=1):
    """Each site has incarnations of its own, as in a run."""
    return Member(site=site, incarnation=f"{site}{life}", host="127.0.0.1", group_port=1, state_port=2)


def epoch(*sites, number=7):
    return Epoch(number=number, members=tuple(member(site) for site in sites), reason="joined")


def card(site, *, tokens=40, steps=4, rows=(), seconds=2.0, finite=True, draining=False, ready=()):
    work = Work(site=site, tokens=tokens, steps=steps, rows=tuple(rows))
    return Card(
        epoch=7, version=3, work=work, seconds=seconds, finite=finite, draining=draining, ready=tuple(ready)
    )


def idle(site):
    return card(site, tokens=0, steps=0, seconds=0.0)


HEAD = Commit(version=3, hash="h3", parent="h2", epoch=6, total_rows=100, done=((0, 20),), tokens=80, steps=8)


# Who enters


def test_those_enter_who_wait_outside_the_epoch_with_the_head_version():
    presences = [
        Presence(member=member("adelaide"), ready="h3"),  # a member already
        Presence(member=member("boise"), ready="h2"),  # holds an older version
        Presence(member=member("delft"), ready="h3"),
        Presence(member=member("cork"), ready="h3"),
        Presence(member=member("boise", 2), ready=""),  # asks for nothing
    ]
    assert ready_joiners(epoch("adelaide"), HEAD, presences) == (member("cork"), member("delft"))


def test_a_joiner_that_any_card_names_is_admitted_in_rank_order():
    cards = [card("adelaide"), card("cork", ready=[member("boise")])]
    wider = admit(epoch("adelaide", "cork"), cards)
    assert wider == Epoch(
        number=8, members=(member("adelaide"), member("boise"), member("cork")), reason="joined"
    )


def test_without_joiners_the_epoch_stands():
    assert admit(epoch("adelaide", "cork"), [card("adelaide"), card("cork")]) is None


def test_a_site_that_comes_back_replaces_its_earlier_incarnation():
    back = member("cork", 2)
    wider = admit(epoch("adelaide", "cork"), [card("adelaide", ready=[back]), card("cork")])
    assert wider is not None
    assert wider.members == (member("adelaide"), back)
    assert wider.rank_of(member("cork")) is None


# Who leaves


def test_drainers_leave_the_epoch_and_the_others_stay():
    narrower = release(epoch("adelaide", "boise", "cork"), [card("adelaide", draining=True), card("boise")])
    assert narrower == Epoch(number=8, members=(member("boise"), member("cork")), reason="left")


def test_nobody_drains_and_the_epoch_stands():
    assert release(epoch("adelaide"), [card("adelaide")]) is None


@pytest.mark.parametrize("sites", [["adelaide"], ["adelaide", "boise"]])
def test_no_epoch_is_written_when_its_last_members_drain(sites):
    assert release(epoch(*sites), [card(site, draining=True) for site in sites]) is None


# Who goes on after a failure


def test_who_has_no_lease_any_more_is_left_out():
    present = {"boise": member("boise")}
    after = survivors(
        epoch("adelaide", "boise", "cork"), member("adelaide"), present=present, affirmed={"boise1"}
    )
    assert after == Epoch(number=8, members=(member("adelaide"), member("boise")), reason="lost")


def test_who_does_not_affirm_is_left_out_although_its_lease_lives():
    present = {site: member(site) for site in NAMES}
    after = survivors(epoch("adelaide", "boise"), member("adelaide"), present=present, affirmed=set())
    assert after.members == (member("adelaide"),)


def test_a_successor_does_not_speak_for_the_incarnation_that_was_lost():
    present = {"boise": member("boise", 2)}
    standing = epoch("adelaide", "boise")
    after = survivors(standing, member("adelaide"), present=present, affirmed={"boise1", "boise2"})
    assert after.members == (member("adelaide"),)
    assert undecided(standing, member("adelaide"), present=present, affirmed=set()) == set()


def test_undecided_are_those_who_live_and_have_not_affirmed():
    old = epoch("adelaide", "boise", "cork")
    present = {"adelaide": member("adelaide"), "boise": member("boise")}
    assert undecided(old, member("adelaide"), present=present, affirmed=set()) == {"boise"}
    assert undecided(old, member("adelaide"), present=present, affirmed={"boise1"}) == set()


def test_living_members_are_those_whose_very_incarnation_holds_a_lease():
    present = {"adelaide": member("adelaide", 2), "boise": member("boise")}
    assert living(epoch("adelaide", "boise", "cork"), present) == [member("boise")]


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_survivors_who_all_affirmed_decide_alike(here, affirming):
    """Those who live and affirmed derive one epoch, whoever of them does it."""
    present = {site: member(site) for site in here}
    affirmed = {member(site).incarnation for site in affirming}
    deciders = [member(site) for site in sorted(here & affirming)]
    standing = epoch(*NAMES)
    following = [survivors(standing, one, present=present, affirmed=affirmed) for one in deciders]
    assert all(one == following[0] and set(deciders) == set(one.members) for one in following)


# What stands after the round


@pytest.mark.parametrize(
    ("mine", "counts"),
    [
        (card("adelaide"), True),
        (card("adelaide", finite=False), False),
        (card("adelaide", tokens=0), False),
    ],
)
def test_only_finite_work_over_tokens_counts(mine, counts):
    assert contributes(mine) is counts


def test_a_commit_adds_the_work_of_its_contributors_to_the_head():
    cards = [
        card("adelaide", tokens=40, steps=4, rows=[(20, 24)], seconds=2.0),
        card("boise", tokens=10, steps=1, rows=[(50, 51)], seconds=1.0),
        idle("cork"),
    ]
    record = next_commit(HEAD, epoch("adelaide", "boise", "cork"), cards, hash="h4")
    assert (record.version, record.hash, record.parent, record.epoch) == (4, "h4", "h3", 7)
    assert record.done == ((0, 24), (50, 51))
    assert (record.tokens, record.steps, record.total_rows) == (130, 13, 100)
    assert [work.site for work in record.work] == ["adelaide", "boise"]
    assert record.joiners == ("cork",)
    assert record.speeds == {"adelaide": 2.0, "boise": 1.0}


def test_work_that_is_not_finite_leaves_its_rows_in_the_pool():
    cards = [card("adelaide", rows=[(20, 24)]), card("boise", rows=[(24, 30)], finite=False)]
    record = next_commit(HEAD, epoch("adelaide", "boise"), cards, hash="h4")
    assert record.done == ((0, 24),)
    assert record.tokens == HEAD.tokens + 40
    assert record.joiners == ()


def test_a_speed_that_was_not_measured_in_this_round_is_kept():
    head = replace(HEAD, speeds={"boise": 3.0, "cork": 5.0})
    record = next_commit(head, epoch("adelaide", "boise"), [card("adelaide"), idle("boise")], hash="h4")
    assert record.speeds == {"adelaide": 2.0, "boise": 3.0, "cork": 5.0}


def test_a_row_done_before_cannot_be_committed_again():
    with pytest.raises(ValueError, match="two ranges"):
        next_commit(HEAD, epoch("adelaide"), [card("adelaide", rows=[(19, 21)])], hash="h4")


def test_the_commit_that_does_the_last_row_says_that_the_run_is_complete():
    cards = [card("adelaide", rows=[(20, 60)]), card("boise", rows=[(60, 100)])]
    record = next_commit(HEAD, epoch("adelaide", "boise"), cards, hash="h4")
    assert record.complete
    assert not HEAD.complete
    assert decode(record.encode())["complete"] is True


# Records

members = st.builds(
    Member,
    site=st.sampled_from(NAMES),
    incarnation=st.text("0123456789abcdef", min_size=1, max_size=8),
    host=st.just("127.0.0.1"),
    group_port=st.integers(1, 65535),
    state_port=st.integers(1, 65535),
)


@st.composite
def rounds(draw):
    """Cards of one round in rank order, each with free rows of its own."""
    sites = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    cards, at = [], HEAD.ledger.rows_done
    for site in sites:
        length = draw(st.integers(0, 20))
        cards.append(
            card(
                site,
                tokens=draw(st.integers(0, 500)),
                steps=draw(st.integers(0, 9)),
                rows=[(at, at + length)] if length else [],
                seconds=draw(st.floats(0, 100)),
                finite=draw(st.booleans()),
                draining=draw(st.booleans()),
                ready=draw(st.lists(members, max_size=2)),
            )
        )
        at += length
    return cards


@given(rounds())
def test_the_cards_that_travelled_give_every_member_the_same_bytes(cards):
    """Nothing of a decision rests on who makes it: its only input is what all members received."""
    standing = epoch(*(one.work.site for one in cards))
    travelled = [Card.decode(one.encode()) for one in cards]
    assert travelled == cards
    records = [next_commit(HEAD, standing, some, hash="h4").encode() for some in (cards, travelled)]
    assert records[0] == records[1]
    wider = [admit(standing, some) for some in (cards, travelled)]
    assert wider[0] == wider[1]
    assert release(standing, travelled) == release(standing, cards)


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


@given(members, st.sampled_from(["", "h3"]))
def test_a_presence_survives_the_store(one, ready):
    presence = Presence(member=one, ready=ready)
    assert Presence.decode(presence.encode()) == presence


def test_equal_records_have_equal_bytes():
    assert encode({"b": 1, "a": 2}) == encode({"a": 2, "b": 1}) == b'{"a":2,"b":1,"schema":1}'


@pytest.mark.parametrize("value", [b'{"schema":2}', b"{}", b"[1]", b"null"])
@pytest.mark.parametrize("kind", [Epoch, Commit, Card, Presence])
def test_a_record_of_another_schema_is_refused(kind, value):
    with pytest.raises(MembershipError, match="another schema than 1; run the same version at all sites"):
        kind.decode(value)


def test_what_is_no_record_is_refused():
    with pytest.raises(MembershipError, match="not JSON"):
        Commit.decode(b"\xff not JSON")


def test_ranks_follow_the_order_of_the_epoch():
    standing = epoch("adelaide", "boise")
    assert standing.sites == ["adelaide", "boise"]
    assert [standing.rank_of(member(site)) for site in ("adelaide", "boise", "cork")] == [0, 1, None]
    assert standing.rank_of(member("adelaide", 2)) is None
