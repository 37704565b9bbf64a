"""Changing the epoch: who is in it after a failure, and that all who are agree."""

import threading
import time

import pytest
from town import HEAD, NEXT, at_once, eventually

from curtail_dist.errors import Expelled, PeerLost, StoreUnavailable
from curtail_dist.membership import effects as do
from curtail_dist.membership.records import CloseRequest, Epoch, Word
from curtail_dist.membership.regroup import BLIND_FORMATIONS, ask_for_close, regroup, take_seat

# Who goes on


def test_who_lost_its_lease_is_left_out_without_waiting_for_the_grace(town):
    a, gone = town.party("a", grace_s=1000.0), town.party("b", present=False)
    town.seat(a, gone)
    assert a.run(regroup(a.part)) == HEAD
    assert a.part.seat == town.epoch == Epoch(number=4, members=(a.me,), reason="lost")


def test_who_does_not_affirm_within_the_grace_is_left_out(town):
    a, mute = town.party("a", grace_s=0.3), town.party("b", present=False)
    mute.register_alone()
    town.seat(a, mute)
    began = time.monotonic()
    a.run(regroup(a.part))
    assert a.part.epoch.members == (a.me,)
    assert 0.3 <= time.monotonic() - began < 5.0


def test_who_is_certainly_gone_is_not_waited_for_to_the_end_of_the_grace(town):
    a, dead = town.party("a", grace_s=4.0), town.party("b", present=False)
    dead.register_alone()
    town.seat(a, dead)
    a.answers[do.Gone] = lambda effect: frozenset(effect.members)
    began = time.monotonic()
    a.run(regroup(a.part))
    assert a.part.epoch.members == (a.me,)
    assert 1.0 <= time.monotonic() - began < 4.0, "what may yet be heard is waited for"


def test_one_who_is_silent_and_not_gone_is_waited_for_though_another_is_gone(town):
    a, dead, mute = town.party("a", grace_s=0.4), *(town.party(one, present=False) for one in "bc")
    dead.register_alone()
    mute.register_alone()
    town.seat(a, dead, mute)
    a.answers[do.Gone] = lambda effect: frozenset(one for one in effect.members if one == dead.me)
    began = time.monotonic()
    a.run(regroup(a.part))
    assert a.part.epoch.members == (a.me,)
    assert time.monotonic() - began >= 0.4


def test_all_who_affirm_stay_and_nobody_waits_for_the_grace(town):
    """b trains on and has not noticed anything: its presence answers."""
    a, b = town.party("a", grace_s=1000.0), town.party("b")
    town.seat(a, b)
    a.run(regroup(a.part))
    assert a.part.epoch == Epoch(number=4, members=(a.me, b.me), reason="lost")


def test_who_misses_a_peer_itself_need_not_affirm(town):
    a, b = town.party("a", grace_s=1000.0), town.party("b", present=False)
    b.register_alone()
    town.seat(a, b)
    town.store.put(town.keys.suspect("b"), Word(epoch=3, incarnation="b1").encode())
    a.run(regroup(a.part))
    assert a.part.epoch.members == (a.me, b.me)


def test_a_survivor_says_what_it_missed_and_asks_for_the_end_of_the_round(town):
    """Else a member that trains would go on to its round's end before it noticed."""
    a, b = town.party("a"), town.party("b")
    town.seat(a, b)
    a.run(regroup(a.part))
    assert Word.decode(town.entry(town.keys.suspect("a")).value) == Word(epoch=3, incarnation="a1")
    asked = CloseRequest.decode(town.entry(town.keys.close("a")).value)
    assert asked == CloseRequest(epoch=3, round=4, reason="regroup")
    assert town.store.get(town.keys.suspect("b")) is None


@pytest.mark.parametrize("repeat", range(5))
def test_two_survivors_who_decide_at_once_write_one_epoch(town, repeat):
    a, b, gone = town.party("a"), town.party("b"), town.party("c", present=False)
    town.seat(a, b, gone)
    before = town.revision
    at_once(*(lambda party=party: party.run(regroup(party.part)) for party in (a, b)))
    assert a.part.epoch == b.part.epoch == Epoch(number=4, members=(a.me, b.me), reason="lost")
    assert town.writes(town.keys.epoch, since=before) == 1


def test_a_survivor_adopts_the_epoch_that_stands_already(town):
    a, b = town.party("a", grace_s=1000.0), town.party("b")
    standing = town.seat(a, b)
    wider = town.seat(a, b, town.party("c"), number=5)
    a.part.seat = standing
    a.run(regroup(a.part))
    assert a.part.epoch == town.epoch == wider


def test_who_the_epoch_does_not_list_any_more_is_expelled(town):
    a, b = town.party("a"), town.party("b")
    town.seat(a, b)
    town.seat(a, number=4)
    town.catch_up(b)
    with pytest.raises(Expelled, match="site b: epoch 4 does not list this process; rejoining"):
        b.run(regroup(b.part))
    assert not b.count(do.Form)


def test_a_restarted_site_does_not_count_as_the_one_that_was_lost(town):
    a, old = town.party("a", grace_s=1000.0), town.party("b", present=False)
    town.party("b", incarnation="b2")
    town.seat(a, old)
    a.run(regroup(a.part))
    assert a.part.epoch.members == (a.me,)


def test_the_last_survivor_asks_nobody_to_end_a_round(town):
    a = town.party("a")
    town.seat(a)
    a.run(regroup(a.part))
    assert town.store.get(town.keys.close("a")) is None
    assert a.part.epoch == Epoch(number=4, members=(a.me,), reason="lost")


# What stands afterwards


def test_head_is_read_after_the_epoch_stands(town):
    """What was committed in the old epoch at the last moment is found: nothing can be after it."""
    a, gone = town.party("a"), town.party("b", present=False)
    town.seat(a, gone)
    a.answers[do.Form] = lambda _: town.store.put(town.keys.head, NEXT.encode())
    assert a.run(regroup(a.part)) == NEXT
    assert a.part.stands_on == HEAD


def test_head_is_read_from_the_store_and_not_from_what_was_seen_last(town):
    a = town.party("a")
    town.seat(a)
    a.board.close()
    town.store.put(town.keys.head, NEXT.encode())
    assert a.board.view().head == HEAD
    assert a.run(regroup(a.part)) == NEXT
    assert a.board.view().head == NEXT


@pytest.mark.parametrize("key", ["head", "epoch"])
def test_a_run_whose_keys_vanished_is_not_begun_anew_by_regrouping(town, key):
    a = town.party("a", present=False, outage_s=0.0)
    town.seat(a)
    town.store.delete(getattr(town.keys, key))
    town.catch_up(a)
    with pytest.raises(PeerLost, match="vanished"):
        a.run(regroup(a.part))
    assert town.store.get(getattr(town.keys, key)) is None


# Groups that fail


def fail(party, times):
    """Let the next groups of this process fail; return the epochs they were for."""
    epochs = []

    def form(effect):
        epochs.append(effect.epoch.number)
        if len(epochs) <= times:
            raise PeerLost("the group was not built")

    party.answers[do.Form] = form
    return epochs


def test_a_group_that_fails_is_followed_by_another_epoch(town):
    a, b = town.party("a"), town.party("b")
    town.seat(a, b)
    formed = fail(a, 1)
    a.run(regroup(a.part))
    assert formed == [4, 5]
    assert a.part.epoch == town.epoch == Epoch(number=5, members=(a.me, b.me), reason="lost")


def test_a_group_is_built_once_an_epoch(town):
    a = town.party("a")
    standing = town.seat(a)
    a.run(take_seat(a.part, standing))
    assert not a.count(do.Form)
    a.run(take_seat(a.part, Epoch(number=4, members=(a.me,), reason="lost")))
    assert a.count(do.Form) == 1


def test_only_who_an_epoch_lists_takes_a_seat_in_it(town):
    a = town.party("a")
    town.seat(a)
    other = Epoch(number=4, members=(town.member("a", "a2"),), reason="joined")
    with pytest.raises(Expelled, match="epoch 4 does not list this process"):
        a.run(take_seat(a.part, other))
    assert a.part.epoch.number == 3


def test_after_some_groups_that_failed_members_say_whom_they_reach(town):
    a, b = town.party("a"), town.party("b")
    town.seat(a, b)
    fail(a, BLIND_FORMATIONS)
    a.run(regroup(a.part))
    said = Word.decode(town.entry(town.keys.suspect("a")).value)
    assert said == Word(epoch=3 + BLIND_FORMATIONS, incarnation="a1", reaches=("b",))
    assert a.count(do.Probe) == 1


def mesh(town, reached, **rules):
    """Seat three processes that know of earlier failures; each can connect to those that `reached` names."""
    parties = [town.party(site, **rules) for site in "abc"]
    town.seat(*parties)
    for party in parties:
        party.part.misses = BLIND_FORMATIONS
        party.answers[do.Probe] = lambda _, party=party: frozenset(reached[party.me.site])
    return parties


def outcome(party):
    try:
        party.run(regroup(party.part))
    except Expelled as error:
        return error
    return party.part.epoch


def test_the_largest_set_that_reaches_each_other_goes_on_and_the_others_are_expelled(town):
    a, b, c = mesh(town, {"a": "bc", "b": "a", "c": "a"})
    ends = at_once(*(lambda party=party: outcome(party) for party in (a, b, c)))
    assert ends[0] == ends[1] == town.epoch == Epoch(number=4, members=(a.me, b.me), reason="lost")
    assert isinstance(ends[2], Expelled)


def test_who_is_left_behind_and_sees_no_other_epoch_is_expelled_after_its_patience(town):
    (a, b, c) = mesh(town, {"a": "b", "b": "a", "c": ""}, patience_s=0.2, grace_s=0.5)
    for party in (a, b):
        word = Word(epoch=3, incarnation=party.me.incarnation, reaches=("a", "b"))
        town.store.put(town.keys.suspect(party.me.site), word.encode())
    town.catch_up(c)
    with pytest.raises(Expelled, match="site c: the other members do not reach this process; rejoining"):
        c.run(regroup(c.part))
    assert town.epoch.number == 3


# Outages


def test_an_outage_is_sat_out(town):
    a, gone = town.party("a", outage_s=100.0), town.party("b", present=False)
    town.seat(a, gone)
    a.suffer_outage(90.0)
    assert a.run(regroup(a.part)) == HEAD
    assert a.passed_s >= 90.0
    assert town.epoch.members == (a.me,)


def test_an_outage_longer_than_the_bound_ends_the_wait(town):
    a = town.party("a", outage_s=100.0)
    town.seat(a)
    a.suffer_outage(1000.0)
    began = a.now()
    with pytest.raises(StoreUnavailable):
        a.run(regroup(a.part))
    assert 100.0 <= a.now() - began < 110.0


def test_an_epoch_whose_answer_was_lost_stands_and_is_not_written_twice(town):
    a, gone = town.party("a"), town.party("b", present=False)
    town.seat(a, gone)
    revision = town.revision
    lose_the_answer_to_the_epoch(town, a)
    a.run(regroup(a.part))
    assert a.part.epoch == town.epoch == Epoch(number=4, members=(a.me,), reason="lost")
    assert town.writes(town.keys.epoch, since=revision) == 1


def lose_the_answer_to_the_epoch(town, party):
    def transact(effect):
        del party.answers[do.Transact]
        party.store.lost = 1
        return party.contact.transact(effect)

    party.answers[do.Transact] = transact


# Asking for a round's end


def test_a_request_names_the_round_that_is_open(town):
    a = town.party("a")
    town.seat(a, number=7, head=NEXT)
    a.run(ask_for_close(a.part, "drain"))
    asked = CloseRequest.decode(town.entry(town.keys.close("a")).value)
    assert asked == CloseRequest(epoch=7, round=5, reason="drain")


def test_a_request_that_finds_no_store_is_let_go(town):
    a = town.party("a", present=False)
    town.seat(a)
    a.store.down = True
    eventually(lambda: a.store.refused)
    a.run(ask_for_close(a.part, "drain"))
    assert town.store.get(town.keys.close("a")) is None


def test_before_the_run_is_founded_there_is_no_round_to_end(town):
    a = town.party("a")
    a.run(ask_for_close(a.part, "drain"))
    assert town.store.get(town.keys.close("a")) is None


def test_who_only_affirmed_is_heard_out_before_it_is_counted_as_reaching_all(town):
    """Who cannot reach a peer needs its probe's whole timeout to find out; its presence affirms at once."""
    a, b, c = mesh(town, {"a": "bc", "b": "a", "c": "a"})
    looked = threading.Event()
    for party, reached in ((b, "a"), (c, "a")):

        def probe(_, reached=reached):
            eventually(lambda: all(town.store.get(town.keys.affirm(site)) for site in "bc"))
            eventually(looked.is_set)
            return frozenset(reached)

        party.answers[do.Probe] = probe

    def first(_):
        looked.set()
        return frozenset("bc")

    a.answers[do.Probe] = first
    at_once(*(lambda party=party: outcome(party) for party in (a, b, c)))
    assert town.epoch.sites == ["a", "b"]
