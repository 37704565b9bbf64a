"""A site's leased key, through lapses, outages, hangs and a newer process."""

import pytest
from town import TTL_S, eventually

from curtail_dist.errors import Superseded
from curtail_dist.membership import effects as do
from curtail_dist.membership.decisions import living
from curtail_dist.membership.presence import keep_present
from curtail_dist.membership.records import Presence

# The leased key


def test_a_registered_site_is_there_on_a_lease_until_it_leaves(town):
    a = town.party("a", ttl_s=1000.0)  # it is to leave at once, not with its next renewal
    assert town.entry(town.keys.member("a")).lease
    assert town.presence("a") == Presence(member=a.me)
    a.leave()
    assert town.presence("a") is None


def test_a_site_without_an_answer_registers_when_there_is_one(town):
    a = town.party("a", present=False)
    a.store.down = True
    a.attend(registers=False)
    eventually(lambda: a.attends(do.Pause) > 1)
    assert town.presence("a") is None
    a.store.down = False
    a.sees(lambda view: view.present.get("a") == a.me)


def test_a_site_shows_the_version_it_waits_with_and_takes_it_back(town):
    a = town.party("a")
    a.show(ready="h3")
    eventually(lambda: town.presence("a") == Presence(member=a.me, ready="h3"))
    a.show()
    eventually(lambda: town.presence("a") == Presence(member=a.me))


def test_a_parked_site_says_so(town):
    a = town.party("a")
    a.show(parked=True)
    eventually(lambda: town.presence("a") == Presence(member=a.me, parked=True))


def test_what_a_site_shows_is_seen_at_once_though_its_lease_has_long_to_live(town):
    """It need not wait for the next renewal."""
    a = town.party("a", ttl_s=1000.0)
    a.show(ready="h3")
    eventually(lambda: town.presence("a") == Presence(member=a.me, ready="h3"))


def test_a_lease_is_renewed_three_times_within_its_life(town):
    a = town.party("a", present=False, ttl_s=30.0)

    def pass_time(effect):
        a.passed_s += effect.timeout
        a.part.closed = a.passed_s > 95.0

    a.answers[do.Await] = pass_time
    a.run(keep_present(a.part))
    assert a.count(do.KeepAlive) == 9
    assert a.count(do.Grant) == a.count(do.PutLeased) == 1


def test_a_lease_that_is_renewed_lives_on(town):
    a = town.party("a")
    for _ in range(4):
        renewed = a.attends(do.KeepAlive)
        eventually(lambda renewed=renewed: a.attends(do.KeepAlive) > renewed)
        town.clock.at += TTL_S * 0.9
        town.cluster.tick()
    assert town.presence("a") == Presence(member=a.me)
    assert a.attends(do.Grant) == 1


def test_under_a_standing_epoch_a_lapsed_lease_is_replaced_and_nothing_is_lost(town):
    a, b = town.party("a"), town.party("b")
    standing = town.seat(a, b)
    before = town.entry(town.keys.member("a"))
    town.let_leases_lapse()

    def replaced():
        after = town.store.get(town.keys.member("a"))
        return after is not None and after.lease != before.lease

    eventually(replaced)
    b.sees(lambda view: living(standing, view.present) == [a.me, b.me])
    assert b.board.view().epoch == standing


def test_a_site_whose_lease_lapsed_while_it_waited_shows_its_version_again(town):
    a = town.party("a")
    a.show(ready="h3")
    eventually(lambda: town.presence("a") == Presence(member=a.me, ready="h3"))
    town.let_leases_lapse()
    eventually(lambda: town.presence("a") is not None)
    assert town.presence("a") == Presence(member=a.me, ready="h3")


def test_showing_a_version_on_a_lease_that_has_just_lapsed_registers_again(town):
    a = town.party("a", ttl_s=1000.0)  # no renewal finds it out
    town.let_leases_lapse()
    a.show(ready="h3")
    eventually(lambda: town.presence("a") == Presence(member=a.me, ready="h3"))


def test_a_registration_whose_answer_was_lost_is_tried_until_the_key_is_there(town):
    a = town.party("a")
    a.store.lost = 2
    town.let_leases_lapse()
    eventually(lambda: not a.store.lost and a.attends(do.PutLeased) >= 4)
    eventually(lambda: town.presence("a") == Presence(member=a.me))
    a.leave()
    assert town.presence("a") is None


def test_a_lease_that_lapsed_in_an_outage_is_replaced_after_it(town):
    a = town.party("a")
    a.store.down = True
    town.let_leases_lapse()
    assert town.presence("a") is None
    a.store.down = False
    eventually(lambda: town.presence("a") is not None)


def test_leaving_in_an_outage_leaves_the_lease_to_lapse(town):
    a = town.party("a")
    a.store.down = True
    a.leave()
    assert town.presence("a") is not None
    town.let_leases_lapse()
    assert town.presence("a") is None


# A main loop that hangs


def test_without_progress_the_lease_is_not_renewed_and_lapses(town):
    a = town.party("a")
    a.working = False
    looked = a.attends(do.MakesProgress)
    eventually(lambda: a.attends(do.MakesProgress) > looked)  # a renewal that had begun is over
    renewed, looked = a.attends(do.KeepAlive), a.attends(do.MakesProgress)
    eventually(lambda: a.attends(do.MakesProgress) > looked + 1)
    assert a.attends(do.KeepAlive) == renewed
    town.let_leases_lapse()
    assert town.presence("a") is None


def test_with_progress_again_the_site_registers_again(town):
    a = town.party("a")
    a.working = False
    looked = a.attends(do.MakesProgress)
    eventually(lambda: a.attends(do.MakesProgress) > looked)
    town.let_leases_lapse()
    looked = a.attends(do.MakesProgress)
    eventually(lambda: a.attends(do.MakesProgress) > looked + 1)
    assert town.presence("a") is None
    a.working = True
    eventually(lambda: town.presence("a") == Presence(member=a.me))


def test_a_process_that_makes_no_progress_from_the_first_does_not_register(town):
    a = town.party("a", present=False)
    a.working = False
    a.attend(registers=False)
    eventually(lambda: a.attends(do.MakesProgress) > 1)
    assert town.presence("a") is None
    assert a.attends(do.Grant) == 0


# A newer process of the same site


def test_a_newer_process_takes_the_key_over(town):
    town.party("a")
    new = town.party("a", "a2")
    assert town.presence("a") == Presence(member=new.me)


def ended(party):
    eventually(lambda: party.failure)
    return isinstance(party.failure, Superseded)


def test_the_older_process_ends_when_it_sees_the_newer_ones_key_and_leaves_it_alone(town):
    old, new = town.party("a", ttl_s=1000.0), town.party("a", "a2")  # the lease of the older one lives on
    entry = town.entry(town.keys.member("a"))
    assert ended(old)
    assert "site a: a newer process of this site is registered; this one ends" in str(old.failure)
    assert town.entry(town.keys.member("a")) == entry
    assert new.failure is None


def test_the_older_process_ends_when_it_would_write_though_it_has_seen_nothing(town):
    old = town.party("a", ttl_s=1000.0)
    old.board.close()
    town.party("a", "a2")
    entry = town.entry(town.keys.member("a"))
    old.show(ready="h3")
    assert ended(old)
    assert town.entry(town.keys.member("a")) == entry


def test_an_older_process_whose_lease_lapsed_does_not_register_again(town):
    old = town.party("a")
    old.board.close()
    new = town.party("a", "a2", present=False)
    town.let_leases_lapse()
    new.register_alone()
    assert ended(old)
    assert town.presence("a") == Presence(member=new.me)


def test_an_older_process_that_leaves_does_not_take_the_newer_ones_key_with_it(town):
    old = town.party("a", ttl_s=1000.0)
    old.board.close()
    new = town.party("a", "a2")
    old.leave()
    assert old.failure is None
    assert town.presence("a") == Presence(member=new.me)


@pytest.mark.parametrize("seen", [True, False])
def test_a_key_that_changes_between_look_and_write_is_not_written_over(town, seen):
    """A newer process registers just before this one's write; `seen`: this one had registered before."""
    old, new = town.party("a", present=seen), town.party("a", "a2", present=False)

    def take_over():
        if town.presence("a") in (None, Presence(member=old.me)):
            new.register_alone()

    old.store.meanwhile = take_over
    if seen:
        old.show(ready="h3")
        eventually(lambda: old.failure)
        assert town.presence("a") == Presence(member=new.me)
    else:
        old.attend()
        assert town.presence("a") == Presence(member=old.me)  # nobody can tell which of the two is newer


def test_a_process_whose_first_answer_was_lost_knows_that_it_was_registered(town):
    """What came after it, before it could look again, is newer."""
    old, new = town.party("a", present=False), town.party("a", "a2", present=False)
    old.store.lost = 1
    old.answers[do.Pause] = lambda _: new.register_alone()
    with pytest.raises(Superseded):
        old.run(keep_present(old.part))
    assert town.presence("a") == Presence(member=new.me)
