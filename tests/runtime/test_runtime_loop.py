"""A run of one site in this process, whose script goes through the loop in ways of its own."""

import json
from itertools import islice

import pytest
import torch
import yaml

import curtail_dist as cd

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROWS, BATCH, STEPS = 64, 4, 5
"""Rows of the data, of an inner step; and steps of a round."""


@pytest.fixture
def site(etcd, tmp_path, request):
    """A site that came into a run of its own; a test may be given its `outer` section."""
    manifest, run_file = tmp_path / "data.json", tmp_path / "run.yaml"
    manifest.write_text(json.dumps({"schema": 1, "name": "numbers", "rows": ROWS}))
    tree = {
        "run": {"name": request.node.name, "directory": str(tmp_path / "run")},
        "sites": {"a": {"signal": {"kind": "constant", "value": 1}, "power": {"train_w": 2, "idle_w": 1}}},
        "coordination": {"endpoints": [etcd.endpoint]},
        "round": {"steps": STEPS},
        "data": {"manifest": str(manifest)},
        "outer": getattr(request, "param", {}),
    }
    run_file.write_text(yaml.safe_dump(tree))
    with cd.Site(cd.RunConfig.from_yaml(run_file), name="a") as site:
        yield site


def enter(site):
    model = torch.nn.Linear(1, 1)
    return cd.DiLoCo(site, model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_loop_that_is_begun_anew_inside_a_round_is_refused(site):
    """Its rows would be trained again each time, and a round of more steps than are taken never end."""
    outer = enter(site)
    for rows in islice(site.indices(batch=BATCH), STEPS - 2):
        outer.step(tokens=len(rows))
    with pytest.raises(
        cd.ConfigError, match=r"left after 3 steps of a round and is begun anew, .* keep its iterator"
    ):
        site.indices(batch=BATCH)


def test_a_look_at_a_batch_before_the_first_step_is_none_of_the_loop(site):
    outer = enter(site)
    assert len(next(site.indices(batch=BATCH))) == BATCH
    assert sorted(list_of_steps(site.indices(batch=BATCH), outer)) == list(range(ROWS))


def test_the_same_loop_goes_on_where_it_was_left(site):
    outer, seen = enter(site), []
    batches = site.indices(batch=BATCH)
    while some := list_of_steps(islice(batches, STEPS - 2), outer):
        seen.extend(some)
    assert sorted(seen) == list(range(ROWS))
    assert site.head.complete
    assert list(site.indices(batch=BATCH)) == [], "of a run that is complete a loop may be begun anew"


def list_of_steps(batches, outer):
    seen = []
    for rows in batches:
        seen.extend(rows)
        outer.step(tokens=len(rows))
    return seen


def test_a_second_optimizer_is_refused_and_the_first_goes_on(site):
    outer = enter(site)
    with pytest.raises(cd.ConfigError, match="a second DiLoCo is made with site a; a run trains one model"):
        enter(site)
    assert sorted(list_of_steps(site.indices(batch=BATCH), outer)) == list(range(ROWS))
    assert site.head.complete


def test_a_script_may_have_its_tensors_elsewhere_and_in_another_type_by_default(site):
    """`meta` stands for a device that is not the processor."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = torch.nn.Linear(1, 1, dtype=torch.float32, device="cpu")
            outer = cd.DiLoCo(site, model, torch.optim.SGD(model.parameters(), lr=0.1))
            seen = list_of_steps(site.indices(batch=BATCH), outer)
    finally:
        torch.set_default_dtype(torch.float32)
    assert sorted(seen) == list(range(ROWS))
    assert site.head.complete


def train(batches, outer, model):
    for rows in batches:
        model(torch.ones(len(rows), 1)).sum().backward()
        outer.inner.step()
        outer.inner.zero_grad()
        outer.step(tokens=len(rows))


@pytest.mark.parametrize("site", [{"mix_alpha": 0.5}, {"mix_alpha": 0.5, "sync_delay": 1}], indirect=True)
def test_a_model_that_is_mixed_on_the_way_ends_at_the_runs_parameters(site):
    model = torch.nn.Linear(1, 1)
    outer = cd.DiLoCo(site, model, torch.optim.SGD(model.parameters(), lr=0.1))
    batches = site.indices(batch=BATCH)
    train(islice(batches, STEPS + 1), outer, model)
    assert not torch.equal(model.bias, outer.anchor()["bias"])
    train(batches, outer, model)
    assert site.head.complete
    assert all(torch.equal(value, outer.anchor()[name]) for name, value in model.named_parameters())
