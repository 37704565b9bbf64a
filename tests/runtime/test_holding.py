from dataclasses import replace

import pytest
import torch
from versions import Setting, with_record

from curtail_dist.config import RunConfig
from curtail_dist.membership.effects import Done, Encode, Secure, TakeKept
from curtail_dist.membership.records import Work
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.holding import Holding
from curtail_dist.state import inner

DONE = Done(work=Work(site="a", tokens=512, steps=3, rows=((0, 4),), open=((4, 17),)), seconds=1.25)


class Time:
    """Run time as the test sets it."""

    seconds = 0.0

    def now(self):
        return self.seconds


@pytest.fixture
def setting(tmp_path):
    setting = Setting(str(tmp_path / "run" / "snapshots"), tmp_path)
    yield setting
    setting.close()


@pytest.fixture
def hold(setting, tmp_path):
    """Make what a process of site a holds, of a model that starts the same each time."""
    config = RunConfig.from_mapping(
        {
            "run": {"name": "r", "directory": str(tmp_path / "run")},
            "sites": {
                "a": {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 0.5}}
            },
            "data": {"manifest": str(tmp_path / "manifest.json")},
            "train": {"warmup_steps": 4},
            "state": {"inner_max_age_s": 60.0},
        }
    )

    def hold():
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Holding(
            config=config,
            site="a",
            outer=DiLoCo(None, model, optimizer, sync_every=1000),
            snapshots=setting.keeper,
            clock=Time(),
            progress=lambda: None,
        )

    return hold


def train(holding):
    """Take inner steps; return the record of the version they stand on."""
    optimizer = holding.outer.inner
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return with_record(holding.outer.state)[1]


def test_the_round_that_was_kept_is_handed_over_on_its_base_by_the_next_process(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    payload = before.outer.encode()
    assert payload.any()
    after = hold()
    assert after.take_kept(TakeKept(head)) == DONE
    assert after.encode(Encode())
    assert torch.equal(after.payload, payload), "and not what this process trained, which is nothing"


def test_a_payload_that_is_encoded_already_is_kept_as_it_is(hold):
    before = hold()
    head = train(before)
    assert before.encode(Encode())
    payload = before.payload.clone()
    before.outer.reset()
    before.secure(Secure(DONE, head))
    after = hold()
    assert after.take_kept(TakeKept(head)) == DONE
    after.encode(Encode())
    assert torch.equal(after.payload, payload)


def test_a_kept_round_outlives_a_process_that_dies_before_it_hands_it_over(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    assert hold().take_kept(TakeKept(head)) == DONE
    assert hold().take_kept(TakeKept(head)) == DONE
    moved = replace(head, hash="0" * 64)
    assert hold().take_kept(TakeKept(moved)) is None
    assert hold().take_kept(TakeKept(head)) is None, "it was deleted when head had moved on"


def test_a_kept_round_does_not_count_on_another_version(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    after = hold()
    assert after.take_kept(TakeKept(replace(head, hash="0" * 64))) is None
    assert after.take_kept(TakeKept(head)) is None, "the run went on without it: its rows are others' by now"
    after.encode(Encode())
    assert not after.payload.any()


def test_the_kept_payload_stands_for_one_round_only(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    after = hold()
    after.take_kept(TakeKept(head))
    after.encode(Encode())
    after.reset()
    after.encode(Encode())
    assert not after.payload.any()


def test_a_torn_round_is_not_handed_over(hold, tmp_path):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    (path,) = (tmp_path / "run" / "open").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert hold().take_kept(TakeKept(head)) is None


def test_a_round_without_a_step_is_not_kept(hold, tmp_path):
    before = hold()
    head = with_record(before.outer.state)[1]
    before.secure(Secure(Done(work=Work(site="a", tokens=0, steps=0, rows=())), head))
    assert not (tmp_path / "run" / "open").exists()
    assert hold().take_kept(TakeKept(head)) is None


def test_what_is_secured_is_the_version_and_the_inner_state_too(hold, setting):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head))
    assert setting.keeper.load(head.version, head.hash).version.hash == head.hash
    after = hold()
    after.resume_inner()
    assert after.outer.warmup == 1.0
    momentum = [state["momentum_buffer"] for state in after.outer.inner.state.values()]
    assert len(momentum) == 2
    assert all(torch.equal(one, torch.ones_like(one)) for one in momentum)


def test_a_place_of_snapshots_out_of_reach_costs_neither_the_round_nor_the_inner_state(hold, tmp_path):
    before = hold()
    head = train(before)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "snapshots").write_text("no folder")
    with pytest.raises(OSError, match="snapshots"):
        before.secure(Secure(DONE, head))
    after = hold()
    assert after.take_kept(TakeKept(head)) == DONE
    assert inner.load(tmp_path / "run" / "inner" / "a.safetensors", after.outer.inner, now=0.0, max_age_s=1.0)


def test_a_site_that_was_away_for_too_long_warms_up_with_a_fresh_inner_state(hold):
    before = hold()
    train(before)
    before.keep_inner()
    after = hold()
    after.clock.seconds = 60.5
    after.resume_inner()
    assert not after.outer.inner.state
    assert after.outer.warmup == pytest.approx(1 / 5)
