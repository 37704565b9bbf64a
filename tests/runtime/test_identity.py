"""What is in the run's identity, and what a site may choose for itself."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from curtail_dist.config import OuterConfig, RunConfig
from curtail_dist.membership.records import SCHEMA
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.identity import identity

SITE = {
    "signal": {"kind": "constant", "value": 1.0},
    "power": {"train_w": 300.0, "idle_w": 50.0},
}
OUTER = {f"outer.{field.name}" for field in dataclasses.fields(OuterConfig)}
COMMON = {"protocol", "data", "model", "numerics", "seed", "passes", "round.steps", "order", *OUTER}


def config(**sections):
    tree = {
        "run": {"name": "t", "seed": 1},
        "data": {"manifest": "manifest.json"},
        "sites": {"a": SITE},
    }
    return RunConfig.from_mapping({**tree, **sections})


def trained(model=None, outer=None):
    model = model or torch.nn.Linear(3, 2)
    return DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=0.1), outer=outer, sync_every=1)


def of(given=None, outer=None, *, data="d1", **program):
    return identity(given or config(), outer or trained(), data=data, program=program)


def test_the_identity_names_all_that_must_agree():
    mine = of(tokenizer="t1", model_config="c1")
    assert set(mine) == COMMON | {"tokenizer", "model_config"}
    assert all(isinstance(value, str) and value for value in mine.values())
    assert (mine["protocol"], mine["seed"], mine["passes"]) == (str(SCHEMA), "1", "1")
    assert (mine["data"], mine["tokenizer"], mine["model_config"]) == ("d1", "t1", "c1")


def test_the_identity_is_the_same_in_every_process_and_whatever_the_parameters_are():
    """Sites draw their own first parameters; those of the run replace them."""
    torch.manual_seed(1)
    first = of()
    torch.manual_seed(2)
    torch.rand(7)
    assert of() == first


@pytest.mark.parametrize(
    ("odd", "keys"),
    [
        (lambda: of(data="d2"), {"data"}),
        (lambda: of(config(run={"name": "t", "seed": 2})), {"seed"}),
        (lambda: of(config(data={"manifest": "manifest.json", "passes": 2})), {"passes"}),
        (lambda: of(config(outer={"lr": 0.5})), {"outer.lr"}),
        (lambda: of(config(outer={"momentum": 0.5})), {"outer.momentum"}),
        (lambda: of(config(outer={"optimizer": "average"})), {"outer.optimizer"}),
        (lambda: of(config(outer={"by_sites": {2: [0.7, 0.6]}})), {"outer.by_sites"}),
        (lambda: of(outer=trained(torch.nn.Linear(3, 3))), {"model"}),
        (lambda: of(outer=trained(torch.nn.Linear(3, 2, bias=False))), {"model"}),
        (lambda: of(outer=trained(torch.nn.Sequential(torch.nn.Linear(3, 2)))), {"model"}),
        (lambda: of(tokenizer="t1"), {"tokenizer"}),
        (lambda: of(model_config="c1"), {"model_config"}),
    ],
)
def test_what_would_train_another_model_differs_in_its_own_key(odd, keys):
    mine, theirs = of(), odd()
    assert {key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)} == keys


def part_frozen(value=1.0, *, name="0", dtype=torch.float32):
    """A model whose first layer, or another, does not learn."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    layer = model.get_submodule(name)
    layer.to(dtype)
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, value).requires_grad_(False)
    return model


def test_the_values_of_frozen_parameters_are_compared_where_there_are_any():
    """Nobody gets them from the run: each site trains around those that it has."""
    mine = of(outer=trained(part_frozen()))
    assert set(mine) == COMMON | {"frozen"}
    assert of(outer=trained(part_frozen())) == mine, "the others are drawn, and those of the run replace them"
    for other in (part_frozen(2.0), part_frozen(dtype=torch.bfloat16)):
        theirs = of(outer=trained(other))
        assert [key for key in mine if mine[key] != theirs[key]] == ["frozen"]
    moved = of(outer=trained(part_frozen(name="2")))
    assert [key for key in mine if mine[key] != moved[key]] == ["model", "frozen"]


def test_buffers_are_each_sites_own():
    model = part_frozen()
    mine = of(outer=trained(model))
    model[1].running_mean.fill_(5.0)
    assert of(outer=trained(model)) == mine


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.usefixtures("threads")
def test_numerics_are_those_of_the_machine_and_not_of_the_threads_or_the_random_state(number):
    mine = of()["numerics"]
    torch.set_num_threads(number)
    torch.manual_seed(number)
    assert of()["numerics"] == mine


def test_measuring_the_numerics_leaves_the_random_state_alone():
    torch.manual_seed(1)
    of_model = trained()
    state = torch.get_rng_state()
    of(outer=of_model)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "sections",
    [
        {"telemetry": {"step_every": 5}},
        {"coordination": {"endpoints": ["10.0.0.1:2379"], "lease_ttl_s": 4.0}},
        {"policy": {"threshold_g_per_kwh": 50.0}},
        {"round": {"grace_s": 3.0, "exchange_timeout_s": 9.0, "outage_s": 60.0}},
        {"state": {"url": "/elsewhere", "keep": 5}},
        {"train": {"own": 3, "stall_s": 60.0, "warmup_steps": 3}},
        {"data": {"manifest": "/other/place/manifest.json"}},
        {"sites": {"a": {**SITE, "address": "10.0.0.7"}, "b": SITE}},
        {"run": {"name": "t", "seed": 1, "directory": "/other/place", "deadline_h": 3.0}},
    ],
)
def test_what_a_site_may_choose_for_itself_is_no_part_of_the_identity(sections):
    assert of(config(**sections)) == of()
