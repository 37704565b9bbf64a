"""Weights of sites, hyper-parameters by their number, momentum when they change."""

import math
import threading

import pytest
import torch

import curtail_dist as cd
from curtail_dist.config import sections
from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.codec import CODECS
from curtail_dist.outer.rules import TABLES, OuterRules, Share, effective, interpolated


def test_the_effective_number_of_sites_counts_equal_ones_and_discounts_small_ones():
    assert effective([3.0, 3.0, 3.0]) == pytest.approx(3)
    assert effective([5.0]) == 1
    assert effective([2.0, 1.0]) == pytest.approx(9 / 5)
    assert effective([]) == effective([0.0]) == 0


def test_a_table_is_linear_in_the_logarithm_and_constant_outside():
    table = {2: (0.6, 0.8), 8: (1.0, 0.9)}
    assert interpolated(table, 2) == (0.6, 0.8)
    assert interpolated(table, 4) == pytest.approx((0.8, 0.85))
    assert interpolated(table, 1) == (0.6, 0.8)
    assert interpolated(table, 100) == (1.0, 0.9)
    assert interpolated(TABLES["muon"], 2) == (0.9, 0.8)


def test_weights_are_tokens_or_tokens_squared_by_steps():
    shares = [Share(tokens=100, steps=5), Share(tokens=100, steps=10), Share()]
    assert OuterRules().weights(shares) == [100.0, 100.0, 0.0]
    assert OuterRules(weight="tokens2_per_step").weights(shares) == [2000.0, 1000.0, 0.0]


@pytest.mark.parametrize("given", [{"weight": "rows"}, {"momentum": "halve"}])
def test_other_rules_are_refused(given):
    with pytest.raises(cd.ConfigError, match="it must be one of"):
        OuterRules(**given)


def test_the_run_file_knows_the_names_there_are():
    assert set(sections._CODECS) == set(CODECS)
    assert set(sections._TABLES) == {"none", *TABLES}


def test_a_step_takes_the_rate_and_momentum_of_its_table_entry():
    rules = OuterRules(by_sites={1: (0.5, 0.0), 2: (0.25, 0.0)})
    for sites, moved in ((1.0, 0.5), (2.0, 0.25)):
        anchor = Anchor(0, {"w": torch.zeros(3)}, cd.Nesterov)
        anchor = anchor.stepped({"w": torch.ones(3)}, hyper=rules.hyper(sites))
        assert torch.equal(anchor.parameters["w"], torch.full((3,), -moved))
    assert OuterRules().hyper(2.0) == {}, "without a table the optimizer is as it was made"


def test_an_optimizer_without_momentum_takes_the_rate_alone():
    anchor = Anchor(
        0, {"w": torch.zeros(2)}, lambda params: torch.optim.AdamW(params, lr=9.0, weight_decay=0.0)
    )
    stepped = anchor.stepped({"w": torch.ones(2)}, hyper={"lr": 0.5, "momentum": 0.9})
    assert torch.allclose(stepped.parameters["w"], torch.full((2,), -0.5))


def one_weight(**settings):
    """A model of one weight, 0, and its DiLoCo without a site."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    return model, cd.DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=1.0), **settings)


def at_two_sites(run):
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.parametrize(
    ("momentum", "factor"), [("keep", 1.0), ("restart", 0.0), ("scale", math.sqrt(1 / 2))]
)
def test_momentum_when_a_second_site_comes(momentum, factor):
    """One site moves by 1 a round, then a second one that does not move joins: only momentum differs."""
    members, found = cd.InProcess.group(2, timeout=30), [None, None]
    rules = OuterRules(momentum=momentum)
    held = threading.Event()
    first = {}

    def run(rank):
        model, outer = one_weight(
            outer=lambda p: cd.Nesterov(p, lr=1.0, momentum=0.5),
            sync_every=1,
            rules=rules,
        )
        if rank == 0:
            with torch.no_grad():
                model.weight.sub_(1.0)
            outer.step(tokens=4)
            first["state"] = outer.state
            held.set()
        else:
            held.wait(30)
            outer.adopt(first["state"])
        outer.regroup(members[rank])
        outer.step(tokens=4)
        found[rank] = outer.anchor()["weight"].item()

    at_two_sites(run)
    # First step: b = 1, theta = -(1 + 0.5). Second: g = 0, b = 0.5 factor, theta -= 0.5 b.
    assert found[0] == found[1] == pytest.approx(-1.5 - 0.5 * 0.5 * factor)


@pytest.mark.parametrize("delay", [0, 1])
def test_after_a_lost_peer_a_site_goes_on_in_another_group_and_its_steps_count(delay):
    """Its peer leaves in the first round; in the second another one has done half as much."""
    lost, second = cd.InProcess.group(2, timeout=30), cd.InProcess.group(2, timeout=30)
    lost[1].close()
    found = [None, None]

    def run(rank):
        model, outer = one_weight(
            outer=cd.Average,
            sync_every=2,
            sync_delay=delay,
            exchange=lost[0] if rank == 0 else None,
        )
        if rank == 0:
            with torch.no_grad():
                model.weight.fill_(-3.0)
            outer.step(tokens=4)
            with pytest.raises(cd.PeerLost):
                outer.step(tokens=4)
            assert model.weight.item() == -3.0, "the local work stays"
        outer.regroup(second[rank])
        for _ in range(2):
            outer.step(tokens=4)
        found[rank] = outer.anchor()["weight"].item()

    at_two_sites(run)
    steps = (4 - delay, 2 - delay)  # taken before the last ones with a delay
    assert found[0] == found[1] == pytest.approx(-3.0 * steps[0] / sum(steps))
