"""A run leaves no keys behind that grow with its rounds, failures or requests."""

from dataclasses import replace

from town import HEAD, at_once

from curtail_dist.membership.committing import write_commit
from curtail_dist.membership.regroup import ask_for_close, regroup


def there(town):
    return {entry.key for entry in town.store.list(town.keys.root).entries}


def lasting(town, sites):
    """What may be there whatever has happened: of the run, and of each site, by its name alone."""
    keys = town.keys
    of_a_site = (keys.member, keys.close, keys.suspect, keys.affirm)
    return {keys.epoch, keys.head} | {key(site) for key in of_a_site for site in sites}


def test_fifty_regroupings_and_requests_leave_no_key_but_the_lasting_ones(town):
    parties = [town.party(site) for site in "abc"]
    town.seat(*parties)
    for number in range(50):
        at_once(*(lambda party=party: party.run(regroup(party.part)) for party in parties))
        for party in parties:
            party.run(ask_for_close(party.part, "drain"))
        assert [party.part.epoch.number for party in parties] == [4 + number] * 3
        assert there(town) <= lasting(town, "abc")
    assert town.epoch.sites == ["a", "b", "c"]


def test_rounds_of_processes_that_come_and_die_leave_no_key_but_the_lasting_ones(town):
    head = HEAD
    for life in range(1, 11):
        a, b = town.party("a", f"a{life}"), town.party("b", f"b{life}", present=False)
        b.register_alone()
        town.seat(a, b, number=10 * life, head=head)
        b.contact.revoke(None)
        town.catch_up(a)
        a.run(regroup(a.part))
        head = replace(head, version=head.version + 1, hash=f"after {life}", parent=head.hash)
        a.run(write_commit(a.part, head))
        assert there(town) <= lasting(town, "a")
        a.leave()
    assert town.head == head
