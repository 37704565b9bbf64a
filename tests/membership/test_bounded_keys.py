"""A run leaves no keys behind that grow with its rounds, failures or requests."""

from dataclasses import replace

from town import HEAD, at_once

from curtail_dist.membership.committing import write_commit
from curtail_dist.membership.regroup import ask_for_close, regroup


def size(town):
    return len(town.store.list(town.keys.root).entries)


def test_fifty_regroupings_and_requests_leave_as_many_keys_as_the_first_few(town):
    parties = [town.party(site) for site in "abc"]
    town.seat(*parties)
    sizes = []
    for number in range(50):
        at_once(*(lambda party=party: party.run(regroup(party.part)) for party in parties))
        for party in parties:
            party.run(ask_for_close(party.part, "drain"))
        assert [party.part.epoch.number for party in parties] == [4 + number] * 3
        sizes.append(size(town))
    assert town.epoch.sites == ["a", "b", "c"]
    assert sizes[-1] == sizes[3]


def test_rounds_of_processes_that_come_and_die_leave_as_many_keys_as_the_first(town):
    head, sizes = HEAD, []
    for life in range(1, 11):
        a, b = town.party("a", f"a{life}"), town.party("b", f"b{life}", present=False)
        b.register_alone()
        town.seat(a, b, number=10 * life, head=head)
        b.contact.revoke(None)
        town.catch_up(a)
        a.run(regroup(a.part))
        head = replace(head, version=head.version + 1, hash=f"after {life}", parent=head.hash)
        a.run(write_commit(a.part, head))
        sizes.append(size(town))
        a.leave()
    assert town.head == head
    assert sizes[-1] == sizes[0]
