"""A view: what a run's keys say, read as records."""

import pytest

from curtail_dist.coordination.store import Entry
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import CloseRequest, Commit, Epoch, Member, Presence, Word, encode
from curtail_dist.membership.view import View

KEYS = Keys("t")
HEAD = Commit(version=3, hash="h3", parent="h2", epoch=1, total_rows=10)


def member(site, life=1):
    return Member(site=site, incarnation=f"{site}{life}", host="127.0.0.1", group_port=1, state_port=2)


STANDING = Epoch(number=7, members=(member("a"), member("b")), reason="joined")


def view(entries=None, **told):
    found = {key: Entry(key=key, value=value, revision=1) for key, value in (entries or {}).items()}
    return View(keys=KEYS, entries=found, **told)


def said(site, *, epoch=7, life=1, key=None, reaches=None):
    word = Word(epoch=epoch, incarnation=f"{site}{life}", reaches=reaches)
    return {key or KEYS.suspect(site): word.encode()}


def test_before_the_run_is_founded_there_is_neither_epoch_nor_head():
    assert view().epoch is None
    assert view().head is None
    assert view().present == {}


def test_epoch_and_head_are_read_as_records():
    seen = view({KEYS.epoch: STANDING.encode(), KEYS.head: HEAD.encode()})
    assert (seen.epoch, seen.head) == (STANDING, HEAD)


def test_present_is_the_incarnation_that_holds_the_sites_key():
    seen = view({KEYS.member("b"): Presence(member=member("b", 2)).encode()})
    assert seen.present == {"b": member("b", 2)}


@pytest.mark.parametrize(
    ("told", "leaving"), [({}, False), ({"draining": True}, True), ({"ending": True}, True)]
)
def test_a_site_leaves_when_its_agent_or_a_signal_says_so(told, leaving):
    assert view(**told).leaving is leaving


# Words


def test_a_word_is_read_with_whom_its_member_reaches():
    word = view(said("a", reaches=("b",))).word(KEYS.suspect("a"), member("a"), 7)
    assert word == Word(epoch=7, incarnation="a1", reaches=("b",))


def test_the_word_of_another_incarnation_is_not_counted():
    seen = view(said("a", life=2))
    assert seen.word(KEYS.suspect("a"), member("a"), 7) is None
    assert seen.word(KEYS.suspect("a"), member("a", 2), 7) is not None


@pytest.mark.parametrize("epoch", [6, 8])
def test_a_word_about_another_epoch_is_not_counted(epoch):
    assert view(said("a", epoch=epoch)).word(KEYS.suspect("a"), member("a"), 7) is None


def test_who_said_nothing_has_no_word():
    assert view().word(KEYS.suspect("a"), member("a"), 7) is None


@pytest.mark.parametrize(
    ("words", "over"),
    [
        (said("a"), True),
        (said("b"), True),
        (said("a", life=2), False),
        (said("a", epoch=6), False),
        (said("c"), False),
        (said("a", key=KEYS.affirm("a")), False),
        ({}, False),
    ],
)
def test_an_epoch_is_over_once_a_member_of_it_missed_another(words, over):
    assert view(words).regrouping(STANDING) is over


# Requests to end a round


@pytest.mark.parametrize(
    ("epoch", "round", "asked"), [(7, 4, True), (7, 3, False), (7, 5, False), (6, 4, False), (8, 4, False)]
)
def test_a_request_closes_the_round_it_names_in_its_epoch_alone(epoch, round, asked):
    request = CloseRequest(epoch=7, round=4, reason="drain")
    seen = view({KEYS.close("b"): request.encode(), KEYS.close("a"): said_of_old()})
    assert seen.close_asked(epoch, round) is asked


def said_of_old():
    return CloseRequest(epoch=2, round=1, reason="joiner").encode()


# Snapshots


@pytest.mark.parametrize(
    ("held", "durable"),
    [
        ({}, False),
        ({KEYS.holder(3): encode({"hash": "h3", "site": "a"})}, True),
        ({KEYS.holder(3): encode({"hash": "of a chain that was dropped", "site": "a"})}, False),
        ({KEYS.holder(2): encode({"hash": "h3", "site": "a"})}, False),
    ],
)
def test_durable_is_a_version_that_somebody_holds_under_its_number_and_hash(held, durable):
    assert view(held).durable(HEAD) is durable
