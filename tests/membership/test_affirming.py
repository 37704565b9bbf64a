"""A site's word that it lives, when somebody suspects it."""

import pytest
from town import eventually

from curtail_dist.membership import effects as do
from curtail_dist.membership.records import Epoch, Word


def suspect(town, standing, site="b"):
    """Let a member of the epoch miss another."""
    word = Word(epoch=standing.number, incarnation=f"{site}1")
    town.store.put(town.keys.suspect(site), word.encode())


def test_a_suspected_site_affirms_this_very_incarnation(town):
    a, b = town.party("a", incarnation="i7"), town.party("b", present=False)
    suspect(town, town.seat(a, b, number=4))
    eventually(lambda: town.store.get(town.keys.affirm("a")))
    assert Word.decode(town.entry(town.keys.affirm("a")).value) == Word(epoch=4, incarnation="i7")


def test_a_suspicion_is_answered_once_an_epoch(town):
    a, b = town.party("a"), town.party("b", present=False)
    began = town.revision
    for number in (4, 5):
        suspect(town, town.seat(a, b, number=number))
        eventually(
            lambda number=number: (
                (entry := town.store.get(town.keys.affirm("a"))) and Word.decode(entry.value).epoch == number
            )
        )
        suspect(town, town.seat(a, b, number=number))
        town.catch_up(a)
        renewed = a.attends(do.KeepAlive)
        eventually(lambda renewed=renewed: a.attends(do.KeepAlive) > renewed)  # it went round once more
    assert town.writes(town.keys.affirm("a"), since=began) == 2


@pytest.mark.parametrize("case", ["old word", "stranger", "another incarnation", "not listed", "none said"])
def test_nobody_affirms_without_a_suspicion_of_an_epoch_that_lists_it(town, case):
    a, b, c = (town.party(site, present=site == "a") for site in "abc")
    members = {"not listed": (b, c), "another incarnation": (town.party("a", "a0", present=False), b)}
    standing = town.seat(*members.get(case, (a, b)), number=4)
    if case == "old word":
        suspect(town, Epoch(number=3, members=standing.members, reason="joined"))
    elif case != "none said":
        suspect(town, standing, "c" if case == "stranger" else "b")
    town.catch_up(a)
    renewed = a.attends(do.KeepAlive)
    eventually(lambda: a.attends(do.KeepAlive) > renewed + 1)
    assert town.store.get(town.keys.affirm("a")) is None


def test_a_site_that_holds_no_lease_just_now_still_answers(town):
    a, b = town.party("a", present=False), town.party("b", present=False)
    a.working = False
    a.attend(registers=False)
    suspect(town, town.seat(a, b))
    eventually(lambda: town.store.get(town.keys.affirm("a")))


def test_a_suspicion_that_came_in_an_outage_is_answered_after_it(town):
    a, b = town.party("a"), town.party("b", present=False)
    standing = town.seat(a, b)
    a.store.down = True
    eventually(lambda: a.store.refused)
    suspect(town, standing)
    a.store.down = False
    eventually(lambda: town.store.get(town.keys.affirm("a")))
