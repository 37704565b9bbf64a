"""Who goes on after a failure, and who can be waited for: read from what members said."""

import pytest
from facts import NAMES, epoch, member
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.coordination.store import Entry
from curtail_dist.membership.decisions import Muster, counted_on
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Epoch, Presence, Word
from curtail_dist.membership.view import View

KEYS = Keys("t")
ME = member("adelaide")
TWO, THREE, FOUR = epoch(*NAMES[:2]), epoch(*NAMES[:3]), epoch(*NAMES)


def view(*, present=(), suspects=(), affirms=(), reaches=None, standing=None, about=7):
    """The store of a run: who holds a lease, who missed a peer, who affirmed, who reaches whom."""
    reached = {site: tuple(sites) for site, sites in (reaches or {}).items()}
    values = {KEYS.member(one.site): Presence(member=one).encode() for one in present}
    for one in [*suspects, *map(member, reached)]:
        word = Word(epoch=about, incarnation=one.incarnation, reaches=reached.get(one.site))
        values[KEYS.suspect(one.site)] = word.encode()
    for one in affirms:
        values[KEYS.affirm(one.site)] = Word(epoch=about, incarnation=one.incarnation).encode()
    if standing is not None:
        values[KEYS.epoch] = standing.encode()
    entries = {key: Entry(key=key, value=value, revision=1) for key, value in values.items()}
    return View(keys=KEYS, entries=entries)


def lost(*sites):
    return Epoch(number=8, members=tuple(map(member, sites)), reason="lost")


# Who answered


def test_who_missed_a_peer_and_who_affirmed_has_answered():
    seen = view(present=FOUR.members, suspects=[member("boise")], affirms=[member("cork")])
    muster = Muster.of(seen, FOUR, ME)
    assert set(muster.words) == {member("boise"), member("cork")}
    assert muster.waiting == {member("delft")}
    assert muster.survivors() == lost("adelaide", "boise", "cork")


def test_who_has_no_lease_any_more_is_left_out_and_not_waited_for():
    seen = view(present=[ME, member("boise")], affirms=THREE.members)
    muster = Muster.of(seen, THREE, ME)
    assert muster.waiting == set()
    assert muster.survivors() == lost("adelaide", "boise")


def test_who_has_said_nothing_is_waited_for_while_its_lease_lives():
    muster = Muster.of(view(present=THREE.members), THREE, ME)
    assert muster.waiting == {member("boise"), member("cork")}
    assert muster.survivors() == lost("adelaide")


def test_a_member_goes_on_although_its_own_lease_has_just_lapsed():
    muster = Muster.of(view(present=[member("boise")], affirms=[member("boise")]), TWO, ME)
    assert ME not in muster.waiting
    assert muster.survivors() == lost("adelaide", "boise")


def test_a_successor_does_not_speak_for_the_incarnation_that_was_lost():
    after = member("boise", 2)
    for said in (member("boise"), after):
        muster = Muster.of(view(present=[ME, after], affirms=[said]), TWO, ME)
        assert muster.waiting == set()
        assert muster.survivors() == lost("adelaide")


@pytest.mark.parametrize("about", [6, 8])
def test_a_word_about_another_epoch_is_no_answer(about):
    muster = Muster.of(view(present=TWO.members, affirms=[member("boise")], about=about), TWO, ME)
    assert muster.waiting == {member("boise")}


def test_the_word_of_who_missed_a_peer_comes_before_its_affirmation():
    """Only the former tells whom it reaches."""
    seen = view(present=TWO.members, affirms=[member("boise")], reaches={"boise": []})
    assert Muster.of(seen, TWO, ME).words[member("boise")].reaches == ()


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_survivors_who_all_answered_decide_alike(here, answering):
    """Those who live and answered derive one epoch, whoever of them does it."""
    seen = view(present=map(member, here), affirms=map(member, answering))
    deciders = [member(site) for site in sorted(here & answering)]
    following = [Muster.of(seen, FOUR, one).survivors() for one in deciders]
    assert all(one == following[0] and one.members == tuple(deciders) for one in following)


# Who reaches whom


def connected(reaches, *, me="adelaide", **said):
    """Who goes on among those who answered, by site."""
    seen = view(present=FOUR.members, reaches=reaches, **said)
    return "".join(site[0] for site in Muster.of(seen, FOUR, member(me)).connected().sites)


A, B, C, D = NAMES


@pytest.mark.parametrize(
    ("reaches", "goes_on"),
    [
        ({A: [B, C, D], B: [A, C, D], C: [A, B, D], D: [A, B, C]}, "abcd"),
        ({A: [B, C], B: [A, C], C: [A, B], D: []}, "abc"),  # one cut off
        ({A: [], B: [C, D], C: [B, D], D: [B, C]}, "bcd"),  # the one that decides is cut off
        ({A: [B, C, D], B: [A], C: [A, D], D: [A, C]}, "acd"),  # the largest set, though a comes to all
        ({A: [B], B: [A], C: [D], D: [C]}, "ab"),  # of equal ones that whose names come first
        ({A: [D], B: [C], C: [B], D: [A]}, "ad"),
        ({A: [C, D], B: [C, D], C: [A, B], D: [A, B]}, "ac"),
        ({A: [B, C, D], B: [C, D], C: [A, B, D], D: [A, B, C]}, "acd"),  # b does not reach a, though a does b
        ({A: [], B: [], C: [], D: []}, "a"),
    ],
)
def test_the_largest_set_goes_on_in_which_each_reaches_each(reaches, goes_on):
    assert {connected(reaches, me=site) for site in NAMES} == {goes_on}


def test_who_has_not_tried_counts_as_reaching_all():
    assert connected({A: [B, C, D], B: [A, C, D]}, affirms=[member(C), member(D)]) == "abcd"
    assert connected({A: [B, C], B: [A, C, D]}, affirms=[member(C), member(D)]) == "abc"


def test_who_did_not_answer_is_in_no_set_though_others_reach_it():
    assert connected({A: [B, C, D], B: [A, C, D], C: [A, B, D]}) == "abc"


def test_the_epoch_of_those_who_reach_each_other_follows_the_failed_one():
    seen = view(present=TWO.members, reaches={A: [B], B: [A]})
    assert Muster.of(seen, TWO, ME).connected() == lost(A, B)


@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1))
def test_equal_reports_give_equal_sets_at_every_member_that_reported(reaches):
    seen = view(present=FOUR.members, reaches={site: sorted(to) for site, to in reaches.items()})
    following = [Muster.of(seen, FOUR, member(site)).connected() for site in sorted(reaches)]
    assert all(one == following[0] for one in following)
    sites = following[0].sites
    assert sites
    assert all(other in reaches[one] for one in sites for other in sites if one != other)


# Whom one can wait for


def test_a_member_is_counted_on_while_its_very_incarnation_holds_a_lease():
    seen = view(present=[ME, member("boise", 2)], standing=THREE)
    assert [counted_on(seen, THREE, one) for one in THREE.members] == [True, False, False]


@pytest.mark.parametrize("who", [ME, member("boise")])
def test_nobody_is_counted_on_once_any_member_began_to_regroup(who):
    """Else two that wait for each other in the old group would not come to the new one."""
    seen = view(present=TWO.members, suspects=[who], standing=TWO)
    assert not any(counted_on(seen, TWO, one) for one in TWO.members)


@pytest.mark.parametrize(
    "said",
    [
        {"suspects": [member("cork")]},  # no member
        {"suspects": [member("boise", 2)]},  # not the one that is a member
        {"suspects": [member("boise")], "about": 6},
        {"affirms": [member("boise")]},
    ],
)
def test_other_words_do_not_end_an_epoch(said):
    assert counted_on(view(present=TWO.members, standing=TWO, **said), TWO, member("boise"))


def test_nobody_is_counted_on_in_an_epoch_that_a_later_one_followed():
    later = Epoch(number=8, members=TWO.members, reason="joined")
    seen = view(present=TWO.members, standing=later)
    assert not any(counted_on(seen, TWO, one) for one in TWO.members)
    assert counted_on(seen, later, member("boise"))


def test_a_member_is_counted_on_in_an_epoch_that_this_process_does_not_see_yet():
    seen = view(present=TWO.members, standing=epoch("adelaide", number=6))
    assert counted_on(seen, TWO, member("boise"))
