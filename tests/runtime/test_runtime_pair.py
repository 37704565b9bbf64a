"""A run of two sites, one of which comes later."""

from dataclasses import dataclass

import pytest
from lab import Lab, sorted_rows
from nursery import Ranks

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


@dataclass
class Pair:
    lab: Lab
    ranks: dict[str, Ranks]
    results: dict[str, dict]


@pytest.fixture(scope="module")
def pair(make_lab, store) -> Pair:
    lab = make_lab("pair", train={"step_s": 0.01})
    gate = lab.gate("together")
    ranks = {site: lab.start(site, f"train.gate={gate}") for site in ("a", "b")}
    founder = lab.until(lambda: lab.events("joined"), "a founder")[0].site
    lab.until_ready(store, "b" if founder == "a" else "a")
    gate.touch()
    return Pair(lab=lab, ranks=ranks, results={site: one.result() for site, one in ranks.items()})


def joined(pair, how):
    (record,) = [record for record in pair.lab.events("joined") if record["how"] == how]
    return record


def test_both_sites_hold_the_same_bytes_at_each_version(pair):
    joiner, last = joined(pair, "pulled").site, max(pair.lab.chain())
    of = {
        site: {record["version"]: record["hash"] for record in pair.lab.events("commit", of=ranks)}
        for site, ranks in pair.ranks.items()
    }
    assert of["a"] == of["b"], f"{joiner} came in time for version 1"
    assert sorted(of["a"]) == list(range(1, last + 1))
    assert pair.results["a"]["hash"] == pair.results["b"]["hash"]


def test_every_row_is_done_once_at_one_of_the_sites(pair):
    assert sorted_rows(pair.results["a"]["seen"] + pair.results["b"]["seen"])
    assert sorted_rows(pair.lab.committed_rows())
    assert pair.results["a"]["seen"]
    assert pair.results["b"]["seen"]


def test_no_step_of_either_site_was_lost(pair):
    for site, ranks in pair.ranks.items():
        assert pair.lab.steps_done(ranks) == pair.lab.steps_committed(site)
    assert not pair.lab.events("round_discarded")
    assert not pair.lab.events("peer_missed")


def test_one_site_founded_the_run_and_the_other_pulled_its_state(pair):
    assert joined(pair, "founded")["version"] == 0
    assert joined(pair, "pulled")["version"] == 0
    assert len(pair.lab.events("run_started")) == 1


def test_a_joiner_asks_for_the_rounds_end_and_contributes_nothing_to_it(pair):
    founder, joiner = joined(pair, "founded").site, joined(pair, "pulled").site
    first, second = pair.lab.chain()[1], pair.lab.chain()[2]
    assert first["joiners"] == [joiner]
    assert [(one["site"], one["steps"]) for one in first["work"]] == [(founder, 1)]
    assert [one["site"] for one in second["work"]] == ["a", "b"]


def test_each_step_tells_how_the_inner_optimizer_is_set(pair):
    told = pair.lab.events("step")
    assert told and all((one["momentum"], one["weight_decay"]) == (0.0, 0.0) for one in told)


def test_all_events_of_a_round_carry_its_epoch_and_number(pair):
    epochs = {record.epoch for record in pair.lab.events("commit") if record["version"] > 1}
    assert epochs == {2}
    for record in pair.lab.events("step"):
        assert record.round == 1 or record.epoch == 2
