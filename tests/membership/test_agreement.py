"""That all sites of a run would train the same: the first says what, the others are compared."""

import pytest

from curtail_dist.errors import IdentityMismatch, StoreUnavailable, UserError
from curtail_dist.membership.agreement import agree, compare
from curtail_dist.membership.effects import Transact
from curtail_dist.membership.records import Presence, decode

IDENTITY = {
    "protocol": "1",
    "data": "d1",
    "model": "m1",
    "outer": "o1",
    "numerics": "n1",
    "seed": "1",
    "passes": "1",
    "tokenizer": "t1",
    "model_config": "c1",
}


def test_the_first_site_writes_what_is_trained(town):
    a = town.party("a", identity=IDENTITY)
    a.run(agree(a.part))
    assert decode(town.entry(town.keys.identity).value) == IDENTITY


def test_sites_with_equal_identities_agree(town):
    for site in ("a", "b", "c"):
        party = town.party(site, identity=IDENTITY)
        party.run(agree(party.part))
    assert decode(town.entry(town.keys.identity).value) == IDENTITY


@pytest.mark.parametrize("key", IDENTITY)
def test_a_site_that_differs_is_refused_with_the_key(town, key):
    first = town.party("a", identity=IDENTITY)
    first.run(agree(first.part))
    odd = town.party("b", identity={**IDENTITY, key: "another"})
    with pytest.raises(
        IdentityMismatch, match=rf"\b{key} is another, the run's is {IDENTITY[key]}"
    ) as caught:
        odd.run(agree(odd.part))
    assert isinstance(caught.value, UserError)
    assert not any(f" {other} is " in str(caught.value) for other in IDENTITY if other != key)
    assert decode(town.entry(town.keys.identity).value) == IDENTITY


@pytest.mark.parametrize("key", ["tokenizer", "numerics"])
def test_a_site_that_lacks_what_the_run_names_is_refused(town, key):
    first = town.party("a", identity=IDENTITY)
    first.run(agree(first.part))
    odd = town.party("b", identity={name: hash for name, hash in IDENTITY.items() if name != key})
    with pytest.raises(IdentityMismatch, match=f"{key} is None, the run's is {IDENTITY[key]}"):
        odd.run(agree(odd.part))


def test_a_site_that_names_more_than_the_run_is_refused():
    with pytest.raises(IdentityMismatch, match="license is l1, the run's is None"):
        compare({**IDENTITY, "license": "l1"}, IDENTITY)


def test_all_that_differs_is_named():
    with pytest.raises(IdentityMismatch, match=r"data is d2, the run's is d1; seed is 2, the run's is 1"):
        compare({**IDENTITY, "data": "d2", "seed": "2"}, IDENTITY)


def test_of_a_hash_the_beginning_is_shown_and_all_of_what_a_user_wrote():
    ours = {"model": "a" * 64, "outer.by_sites": '{"2": [0.7, 0.6], "3": [0.7, 0.6]}'}
    theirs = {"model": "b" * 64, "outer.by_sites": '{"2": [0.7, 0.6], "3": [0.7, 0.8]}'}
    with pytest.raises(IdentityMismatch) as caught:
        compare(ours, theirs)
    said = str(caught.value)
    assert f"model is {'a' * 12}, the run's is {'b' * 12}; " in said
    assert f"outer.by_sites is {ours['outer.by_sites']}, the run's is {theirs['outer.by_sites']};" in said


def test_two_sites_that_come_first_at_once_do_not_both_write(town):
    """The other one's identity stands just before this site writes its own."""
    a, b = town.party("a", identity=IDENTITY), town.party("b", identity={**IDENTITY, "data": "d2"})
    a.store.meanwhile = lambda: b.run(agree(b.part)) if not town.store.get(town.keys.identity) else None
    with pytest.raises(IdentityMismatch, match="data is d1, the run's is d2"):
        a.run(agree(a.part))


def test_an_identity_whose_answer_was_lost_is_found_written_and_agreed_with(town):
    a = town.party("a", identity=IDENTITY)
    a.store.lost = 1
    a.run(agree(a.part))
    assert a.count(Transact) == 2
    assert decode(town.entry(town.keys.identity).value) == IDENTITY


def test_an_outage_is_sat_out_up_to_the_bound(town):
    a = town.party("a", identity=IDENTITY, outage_s=100.0)
    a.suffer_outage(90.0)
    a.run(agree(a.part))
    assert a.passed_s >= 90.0
    a.suffer_outage(1000.0)
    with pytest.raises(StoreUnavailable):
        a.run(agree(a.part))
    assert a.passed_s < 210.0


def test_a_site_agrees_only_when_its_presence_is_seen(town):
    a = town.party("a", present=False, identity=IDENTITY, outage_s=0.05)
    with pytest.raises(StoreUnavailable, match="site a could not register"):
        a.run(agree(a.part))


def test_the_key_of_an_earlier_process_of_the_site_is_not_taken_for_its_own(town):
    """Its lease may live on for a moment; who took it for its own would think itself superseded."""
    town.store.put(town.keys.member("a"), Presence(member=town.member("a", "a0")).encode())
    a = town.party("a", present=False, identity=IDENTITY, outage_s=0.05)
    with pytest.raises(StoreUnavailable, match="site a could not register"):
        a.run(agree(a.part))
    a.attend()
    a.run(agree(a.part))
