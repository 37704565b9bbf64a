"""What a lossy codec leaves out of a payload travels with the next one, if that payload counted."""

from dataclasses import replace

import pytest
import torch
from versions import Setting

from curtail_dist.config import RunConfig
from curtail_dist.membership.effects import Encode, GatherPayloads, Load, StepCopy, Swap
from curtail_dist.membership.records import Commit, Work
from curtail_dist.outer.codec import CODECS, decode
from curtail_dist.outer.exchange import Alone
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.holding import Holding
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.intrasite import OneRank
from curtail_dist.security import PlainWire

WORK = Work(site="a", tokens=10, steps=1, rows=((0, 1),))
SIZE = 300


class Time:
    def now(self):
        return 0.0


@pytest.fixture
def holding(tmp_path):
    """What a process of site a holds, of a model that has just been trained."""
    setting = Setting(str(tmp_path / "snapshots"), tmp_path)
    power = {"train_w": 1.0, "idle_w": 0.5}
    config = RunConfig.from_mapping(
        {
            "run": {"name": "r", "directory": str(tmp_path / "run")},
            "sites": {"a": {"signal": {"kind": "constant", "value": 1.0}, "power": power}},
            "data": {"manifest": str(tmp_path / "manifest.json")},
        }
    )
    torch.manual_seed(1)
    model = torch.nn.Linear(SIZE, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outer = DiLoCo(None, model, optimizer, sync_every=1000, codec="int4")
    yield Holding(
        config=config,
        site="a",
        outer=outer,
        inner=InnerState(config, "a", OneRank(), outer),
        wire=PlainWire(),
        snapshots=setting.keeper,
        clock=Time(),
        progress=lambda: None,
    )
    setting.close()


def train(holding, seed):
    """Move the local parameters, and encode the round."""
    with torch.no_grad():
        for value in holding.outer.local:
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(seed)))
    assert holding.encode(Encode((0,)))
    return holding.payload


def record(holding, *sites, version=1):
    """A commit of the copy, to which these sites contributed."""
    work = tuple(replace(WORK, site=site) for site in sites)
    made = holding._copy.version.hash
    return Commit(version=version, hash=made, parent="0" * 64, epoch=1, total_rows=9, work=work, synced=(0,))


def step(holding):
    """Gather this site's payload alone, and step a copy."""
    shares = [[(WORK.tokens, WORK.steps)]]
    holding.exchange(GatherPayloads((0,), shares), Alone())
    holding.step_copy(StepCopy((0,), shares, ()))


def left_out(holding):
    """What the next payload carries beside what is trained until then, which is nothing."""
    holding.encode(Encode((0,)))
    return decode(CODECS["int4"], holding.payload, SIZE).abs().max().item()


def test_a_payload_that_a_commit_lists_leaves_its_rest_to_the_next(holding):
    train(holding, 1)
    step(holding)
    holding.swap(Swap(record(holding, "a", "b")))
    assert left_out(holding) > 0


@pytest.mark.parametrize("listed", [(), ("b",)])
def test_one_that_is_not_listed_leaves_nothing(holding, listed):
    train(holding, 1)
    step(holding)
    holding.swap(Swap(record(holding, *listed)))
    assert left_out(holding) == 0


def test_one_that_is_thrown_away_leaves_nothing(holding):
    train(holding, 1)
    holding.reset()
    assert left_out(holding) == 0


@pytest.mark.parametrize(("version", "leaves"), [(1, True), (2, False)])
def test_a_commit_that_others_wrote_counts_if_it_stands_on_the_same_version(holding, version, leaves):
    """The process did not see it through, and gets its state: here from its snapshot."""
    train(holding, 1)
    step(holding)
    made = replace(holding._copy.version, number=version)
    commit = replace(record(holding, "a", version=version), hash=made.hash)
    holding.snapshots.make_durable(made, commit)
    holding.load(Load(version, commit.hash))
    assert (left_out(holding) > 0) == leaves


def test_a_round_that_is_sent_again_has_the_same_bytes(holding):
    train(holding, 1)
    step(holding)
    holding.swap(Swap(record(holding, "a")))
    payload = train(holding, 2).clone()
    step(holding)
    assert torch.equal(holding.payload, payload)
