"""The decisions of the membership protocol: the same facts give the same decision at every member."""

from dataclasses import replace

import pytest
from facts import HEAD, card, epoch, idle, member, rounds
from hypothesis import given

from curtail_dist.membership.decisions import (
    admit,
    living,
    next_commit,
    ready_joiners,
    release,
)
from curtail_dist.membership.fragments import contributes, shares
from curtail_dist.membership.records import Card, Epoch, Presence, decode

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


def test_living_members_are_those_whose_very_incarnation_holds_a_lease():
    present = {"adelaide": member("adelaide", 2), "boise": member("boise")}
    assert living(epoch("adelaide", "boise", "cork"), present) == [member("boise")]


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
    (share,) = shares(HEAD, [mine], 1, (0,))
    assert contributes(share) is counts


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
    cards = [
        card("adelaide", rows=[(20, 24)]),
        card("boise", rows=[(24, 30)], open=[(30, 5)], finite=False),
    ]
    record = next_commit(HEAD, epoch("adelaide", "boise"), cards, hash="h4")
    assert record.done == ((0, 24),)
    assert record.open == ()
    assert record.tokens == HEAD.tokens + 40
    assert record.joiners == ()


def test_rows_that_were_begun_stand_in_the_commit_with_their_tokens():
    cards = [card("adelaide", rows=[(20, 24)], open=[(24, 17)]), card("boise", open=[(50, 9)])]
    record = next_commit(HEAD, epoch("adelaide", "boise"), cards, hash="h4")
    assert record.done == ((0, 24),)
    assert record.open == ((24, 17), (50, 9))


def test_a_row_begun_before_is_done_with_its_last_token_or_goes_on():
    head = replace(HEAD, open=((24, 17), (50, 9), (70, 3)))
    cards = [card("adelaide", rows=[(20, 25)]), card("boise", open=[(50, 30)])]
    record = next_commit(head, epoch("adelaide", "boise"), cards, hash="h4")
    assert record.done == ((0, 25),)
    assert record.open == ((50, 30), (70, 3))


def test_a_token_of_an_open_row_is_not_committed_twice():
    head = replace(HEAD, open=((24, 17),))
    with pytest.raises(ValueError, match="position 24 has 16 tokens done, 17 before"):
        next_commit(head, epoch("adelaide"), [card("adelaide", open=[(24, 16)])], hash="h4")


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


def test_a_run_whose_last_row_is_open_is_not_complete():
    record = next_commit(
        HEAD, epoch("adelaide"), [card("adelaide", rows=[(20, 99)], open=[(99, 1)])], hash="h4"
    )
    assert not record.complete


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
