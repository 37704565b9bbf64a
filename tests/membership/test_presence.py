"""A site's leased key, through lapses and outages, and its word that it lives."""

import pytest

from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.protocol import living
from curtail_dist.membership.records import Epoch, Presence, decode


def presence_of(town, site):
    entry = town.store.get(town.keys.member(site))
    return None if entry is None else Presence.decode(entry.value)


def test_a_registered_site_is_there_on_a_lease_until_it_leaves(town):
    a = town.party("a")
    entry = town.store.get(town.keys.member("a"))
    assert entry is not None
    assert entry.lease
    assert presence_of(town, "a") == Presence(member=a.me)
    a.registration.close()
    assert presence_of(town, "a") is None
    a.registration.close()


def test_a_site_that_cannot_register_says_so(town):
    a = town.party("a", present=False)
    a.store.down = True
    with pytest.raises(StoreUnavailable):
        a.registration.start()


def test_a_site_shows_the_version_it_waits_with_and_takes_it_back(town):
    a = town.party("a")
    a.registration.show_ready("h3")
    assert presence_of(town, "a") == Presence(member=a.me, ready="h3")
    a.registration.show_ready("")
    assert presence_of(town, "a") == Presence(member=a.me)


def test_under_a_standing_epoch_a_lapsed_lease_is_replaced_and_nothing_is_lost(town, eventually):
    a, b = town.party("a"), town.party("b")
    standing = Epoch(number=1, members=(a.me, b.me), reason="joined")
    town.store.put(town.keys.epoch, standing.encode())
    before = town.store.get(town.keys.member("a"))
    assert before is not None
    town.let_leases_lapse()

    def replaced():
        after = town.store.get(town.keys.member("a"))
        return after is not None and after.lease != before.lease

    eventually(replaced)
    eventually(lambda: living(standing, b.board.present) == [a.me, b.me])
    assert b.board.epoch == standing


def test_a_site_whose_lease_lapsed_while_it_waited_shows_its_version_again(town, eventually):
    a = town.party("a")
    a.registration.show_ready("h3")
    town.let_leases_lapse()
    eventually(lambda: presence_of(town, "a") is not None)
    assert presence_of(town, "a") == Presence(member=a.me, ready="h3")


def test_showing_a_version_on_a_lease_that_has_just_lapsed_registers_again(town):
    a = town.party("a")
    town.let_leases_lapse()
    a.registration.show_ready("h3")
    assert presence_of(town, "a") == Presence(member=a.me, ready="h3")


def test_a_registration_whose_answer_was_lost_is_tried_until_the_key_is_there(town, eventually):
    a = town.party("a")
    a.store.puts_to_fail = 2
    town.let_leases_lapse()
    eventually(lambda: presence_of(town, "a") is not None)
    assert a.store.puts_to_fail == 0


def test_a_lease_that_lapsed_in_an_outage_is_replaced_after_it(town, eventually):
    a = town.party("a")
    a.store.down = True
    town.let_leases_lapse()
    assert presence_of(town, "a") is None
    a.store.down = False
    eventually(lambda: presence_of(town, "a") is not None)


def test_leaving_in_an_outage_leaves_the_lease_to_lapse(town):
    a = town.party("a")
    a.store.down = True
    a.registration.close()
    assert presence_of(town, "a") is not None
    town.let_leases_lapse()
    assert presence_of(town, "a") is None


def test_a_suspected_site_affirms_this_very_incarnation(town, eventually):
    town.party("a", incarnation="i7")
    town.store.put(town.keys.suspect(4, "a"), b'{"schema":1,"by":"b"}')
    eventually(lambda: town.store.get(town.keys.affirm(4, "a")))
    entry = town.store.get(town.keys.affirm(4, "a"))
    assert entry is not None
    assert decode(entry.value) == {"incarnation": "i7"}


def test_nobody_affirms_another_site_or_a_suspicion_taken_back(town, eventually):
    a = town.party("a")
    town.store.put(town.keys.suspect(4, "b"), b'{"schema":1,"by":"c"}')
    town.store.put(town.keys.drain("a"), b'{"schema":1}')
    town.store.put(town.keys.suspect(5, "a"), b'{"schema":1,"by":"c"}')
    eventually(lambda: town.store.get(town.keys.affirm(5, "a")))
    town.store.delete(town.keys.affirm(5, "a"))
    town.store.delete(town.keys.suspect(5, "a"))
    eventually(lambda: a.board.entry(town.keys.suspect(5, "a")) is None)
    assert a.board.below(f"{town.keys.root}affirm/") == []


def test_a_suspicion_that_came_in_an_outage_is_answered_after_it(town, eventually):
    a = town.party("a")
    a.store.down = True
    eventually(lambda: a.board.stale_s > 0.4)
    town.store.put(town.keys.suspect(4, "a"), b'{"schema":1,"by":"b"}')
    a.store.down = False
    eventually(lambda: town.store.get(town.keys.affirm(4, "a")))
