"""What a rank records at a fresh commit, and whose parameters it looks at."""

from dataclasses import replace

import pytest
import torch
from curtail_launch.demo.script import Wishes, run_tree
from curtail_launch.looks import Looks, held_out
from curtail_launch.settings import read_recipe
from curtail_launch.trainee import build_trainee

import curtail_dist as cd
from curtail_dist.config import RunConfig
from curtail_dist.membership.records import Commit, Work
from nanochat.evaluate import bits_per_byte
from nanochat.ranks import Ranks
from nanochat.tokenizer import Tokenizer

ALONE = Ranks(0, 1, torch.device("cpu"))
BATCH = 5


class Stand:
    """What a site is to those who look: where it stands, and what they record."""

    name = "texas"

    def __init__(self, head):
        self.head = head
        self.leads = True
        self.recorded = []

    def record(self, event):
        self.recorded.append(event)

    def names(self):
        return [event.NAME for event in self.recorded]


def commit(version, *, site="texas", tokens=1000):
    work = (Work(site=site, tokens=tokens, steps=4, rows=()),) if version else ()
    return Commit(
        version=version, hash=f"h{version}", parent="p", epoch=1, total_rows=100, tokens=tokens, work=work
    )


@pytest.fixture
def looked(material, tmp_path):
    """A site at version 0, what looks there, and what is looked at."""

    def make(**options):
        wishes = Wishes(out=tmp_path / "out", day="short", minutes=0.2, sites=1)
        tree = run_tree(wishes, material, etcd="127.0.0.1:1", clock="127.0.0.1:2")
        tree["model"] = {**tree["model"], "n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": 32}
        given = {"device_batch_size": BATCH, "eval_sequences": 2 * BATCH + 1, "eval_every": 2}
        tree["train"] = {**tree["train"], **given, **options}
        config = RunConfig.from_mapping(tree)
        recipe = read_recipe(config)
        tokenizer = Tokenizer.load(recipe.tokenizer)
        trainee = build_trainee(recipe, ALONE, seed=1)
        outer = cd.DiLoCo(None, trainee.model, trainee.optimizer, sync_every=100)
        batches = held_out(config, recipe, tokenizer, ALONE.device)
        looks = Looks(config, recipe, trainee, tokenizer, ALONE)
        return Stand(commit(0)), looks, outer, trainee.model, (batches, tokenizer.token_bytes())

    return make


def test_an_evaluation_has_batches_of_the_shape_of_training_alone(looked):
    *_, (batches, _) = looked()
    assert [tuple(batch.inputs.shape) for batch in batches] == [(BATCH, 32)] * 3
    assert [(batch.targets >= 0).any(dim=1).sum().item() for batch in batches] == [BATCH, BATCH, 1]
    assert sum(batch.num_tokens for batch in batches) == 32 * (2 * BATCH + 1)


def test_rows_that_fill_a_batch_up_count_for_nothing(looked):
    _, _, _, model, (batches, token_bytes) = looked()
    last = batches[-1]
    cut = replace(last, inputs=last.inputs[:1], targets=last.targets[:1])
    assert bits_per_byte(model, [last], token_bytes) == pytest.approx(
        bits_per_byte(model, [cut], token_bytes), rel=1e-6
    )


def test_it_is_the_global_model_that_is_evaluated_and_the_local_one_that_trains_on(looked):
    site, looks, outer, model, (batches, token_bytes) = looked()
    wanted = bits_per_byte(model, batches, token_bytes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    before = [parameter.clone() for parameter in model.parameters()]
    apart = bits_per_byte(model, batches, token_bytes)
    looks.begin(site, outer)
    (seen,) = site.recorded
    assert seen.val_bpb == wanted != apart
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_version_is_looked_at_once_and_those_between_are_not_evaluated(looked):
    site, looks, outer, *_ = looked(sample_every=2)
    looks.begin(site, outer)
    assert site.names() == ["evaluated"], "a model that was never trained writes nothing worth reading"
    for version in (1, 1, 2, 2):
        site.head = commit(version)
        looks.after_step(site, outer, since=0.0)
    assert site.names() == ["evaluated", "throughput", "throughput", "evaluated", "sampled"]
    assert [event.version for event in site.recorded] == [0, 1, 2, 2, 2]


def test_a_site_that_does_not_lead_records_its_speed_alone(looked):
    site, looks, outer, *_ = looked(sample_every=1)
    site.leads = False
    looks.begin(site, outer)
    site.head = commit(2)
    looks.after_step(site, outer, since=0.0)
    assert site.names() == ["throughput"]
    assert site.recorded[0].tokens_per_s > 0
    assert site.recorded[0].mfu is None


def test_a_round_to_which_the_site_gave_nothing_has_no_speed(looked):
    site, looks, outer, *_ = looked()
    looks.begin(site, outer)
    site.head = commit(1, site="california")
    looks.after_step(site, outer, since=0.0)
    assert "throughput" not in site.names()
