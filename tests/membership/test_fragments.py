"""Which fragments a commit moves, when a row is done, and what is lost with its site."""

from dataclasses import replace

import pytest
from facts import card, epoch, idle

from curtail_dist.data.ledger import count
from curtail_dist.membership.decisions import going_on, next_commit, plan_round
from curtail_dist.membership.fragments import due, keeping, shares, standing
from curtail_dist.membership.records import Commit

FRAGMENTS = 3
START = Commit(version=0, hash="h0", parent="", epoch=1, total_rows=60)


def follow(head, *cards, fragments=FRAGMENTS):
    """The next commit from cards on top of `head`."""
    sites = [one.work.site for one in cards]
    placed = [replace(one, version=head.version, base=head.hash) for one in cards]
    return next_commit(head, epoch(*sites), placed, hash=f"h{head.version + 1}", fragments=fragments)


def worked(site, first, last, **more):
    return card(site, rows=[(first, last)], **more)


def test_fragments_take_turns_and_a_row_is_done_when_all_have_it():
    first = follow(START, worked("boise", 0, 4))
    second = follow(first, worked("boise", 4, 8))
    third = follow(second, worked("boise", 8, 12))
    fourth = follow(third, worked("boise", 12, 16))
    assert [one.synced for one in (first, second, third, fourth)] == [(0,), (1,), (2,), (0,)]
    assert [one.ledger.rows_done for one in (first, second, third, fourth)] == [0, 0, 4, 8]
    assert [each.version for each in fourth.pending] == [3, 4]


def test_pending_rows_are_planned_for_nobody():
    first = follow(START, worked("boise", 0, 4), worked("cork", 4, 8))
    planned = plan_round(first, ["boise", "cork"], ["boise", "cork"], steps=5)
    rows = [span for one in planned.values() for span in one.rows]
    assert min(low for low, _ in rows) == 8
    alone = plan_round(first, ["boise"], ["boise"], steps=5)
    assert alone["boise"].rows[0][0] == 4, "what another had pending is free without it"


def test_a_weight_is_what_was_trained_since_the_fragment_moved():
    first = follow(START, worked("boise", 0, 4, tokens=10, steps=1))
    second = follow(first, worked("boise", 4, 8, tokens=20, steps=2))
    mine = worked("boise", 8, 12, tokens=40, steps=4)
    assert shares(second, [mine], FRAGMENTS, (0, 1, 2)) == (((60, 6), (40, 4), (70, 7)),)


@pytest.mark.parametrize("gone", ["not there", "not finite", "new process"])
def test_a_site_that_is_lost_loses_what_it_had_pending(gone):
    first = follow(START, worked("boise", 0, 4), worked("cork", 4, 8))
    cards = {
        "not there": [worked("boise", 8, 12)],
        "not finite": [worked("boise", 8, 12), worked("cork", 12, 16, finite=False)],
        "new process": [worked("boise", 8, 12), replace(idle("cork"), since=1)],
    }[gone]
    second = follow(first, *cards)
    assert second.returned == ((1, "cork"),)
    assert [(one.version, one.work.site) for one in second.pending] == [(1, "boise"), (2, "boise")]
    third = follow(second, worked("boise", 16, 20))
    assert third.done == ((0, 4),)


def test_a_site_keeps_what_is_pending_though_it_did_nothing_in_a_round():
    first = follow(START, worked("boise", 0, 4), worked("cork", 4, 8))
    second = follow(first, worked("boise", 8, 12), idle("cork"))
    assert second.returned == ()
    assert [one.site for one in second.work] == ["boise", "cork"], "its gradient of the round before is in it"
    assert standing(second, [idle("cork")])[0].work.site == "cork"
    assert keeping(second, [idle("cork"), replace(idle("boise"), since=2)]) == ("cork",)


def test_after_a_drain_all_fragments_move_at_once_and_then_the_drainer_goes():
    leaving = worked("cork", 4, 8, draining=True)
    first = follow(START, worked("boise", 0, 4), leaving)
    assert first.flush
    assert first.sites == ("boise", "cork"), "it stays for one more round"
    assert due(first, FRAGMENTS) == (0, 1, 2)
    second = follow(first, worked("boise", 8, 9), replace(idle("cork"), draining=True))
    assert (second.synced, second.pending, second.flush) == ((0, 1, 2), (), False)
    assert second.done == ((0, 9),)
    assert second.sites == ("boise",)


def test_the_last_rows_are_flushed():
    head = replace(START, total_rows=8)
    first = follow(head, worked("boise", 0, 8))
    assert (first.flush, first.complete) == (True, False)
    second = follow(first, idle("boise"))
    assert second.complete
    assert second.synced == (0, 1, 2)


def test_a_row_that_is_begun_stays_with_its_site():
    begun = card("cork", rows=[(4, 6)], open=[(6, 3)])
    first = follow(START, worked("boise", 0, 4), replace(begun, ahead=((6, 7),)))
    planned = plan_round(first, ["boise", "cork"], first.sites, steps=5)
    assert planned["cork"].rows[0] == (6, 7)
    assert planned["cork"].open == ((6, 3),)
    assert not any(low <= 6 < high for low, high in planned["boise"].rows)
    again = plan_round(first, ["boise"], ["boise"], steps=5)["boise"]
    assert 6 in [low for low, _ in again.rows] or count(again.rows) > 6
    assert again.open == (), "what cork had of it is lost with cork"


def test_with_one_fragment_nothing_is_ever_pending():
    first = follow(START, worked("boise", 0, 4), worked("cork", 4, 8, draining=True), fragments=1)
    assert (first.pending, first.flush, first.synced, first.sites) == ((), False, (0,), ("boise",))
    assert going_on(epoch("boise", "cork"), [worked("boise", 0, 4), idle("cork")]) == ("boise", "cork")


def test_a_row_that_is_begun_stays_with_a_site_that_leaves_before_its_next_step():
    begun = replace(card("cork", rows=[(4, 6)], open=[(6, 3)]), ahead=((6, 7),))
    first = follow(START, worked("boise", 0, 4), begun)
    second = follow(first, worked("boise", 8, 12), replace(idle("cork"), draining=True))
    assert (second.flush, second.sites) == (True, ("boise", "cork"))
    planned = plan_round(second, second.sites, second.sites, steps=5)
    assert planned["cork"].rows[0] == (6, 7), "what it has of it may yet be lost with it"
    assert not any(low <= 6 < high for low, high in planned["boise"].rows)
    flushed = follow(second, worked("boise", 12, 16), replace(idle("cork"), draining=True))
    assert (flushed.pending, flushed.ahead, flushed.open) == ((), {}, ((6, 3),))
    lost = follow(second, worked("boise", 12, 16))
    assert (lost.open, lost.ahead) == ((), {})


def test_a_process_that_came_back_keeps_none_of_the_rows_of_the_one_before():
    begun = replace(card("cork", rows=[(4, 6)], open=[(6, 3)]), ahead=((6, 7),))
    first = follow(START, worked("boise", 0, 4), begun)
    second = follow(first, worked("boise", 8, 12), replace(idle("cork"), since=1))
    assert second.ahead == {}
