"""What must be the same at every site."""

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.errors import IdentityMismatch, UserError
from curtail_dist.membership.identity import agree, identity


def config(**sections):
    tree = {
        "run": {"name": "t", "seed": 1},
        "data": {"manifest": "manifest.json"},
        "sites": {
            "a": {
                "signal": {"kind": "constant", "value": 1.0},
                "power": {"train_w": 300.0, "idle_w": 50.0},
            }
        },
    }
    return RunConfig.from_mapping({**tree, **sections})


def of(config, *, data="d1", model="m1", **program):
    return identity(config, data=data, model=model, program=program)


def test_sites_with_equal_identities_agree(town):
    for _ in range(3):
        agree(town.store, town.keys, of(config(), tokenizer="t1"))


@pytest.mark.parametrize(
    ("odd", "key"),
    [
        (of(config(), model="m2"), "model"),
        (of(config(), data="d2"), "data"),
        (of(config(run={"name": "t", "seed": 2})), "seed"),
        (of(config(data={"manifest": "manifest.json", "passes": 2})), "passes"),
        (of(config(outer={"lr": 0.5})), "outer"),
        (of(config(), tokenizer="t2"), "tokenizer"),
    ],
)
def test_a_site_that_differs_is_refused_with_the_key(town, odd, key):
    agree(town.store, town.keys, of(config()))
    with pytest.raises(IdentityMismatch, match=rf"\b{key} is ") as caught:
        agree(town.store, town.keys, odd)
    assert isinstance(caught.value, UserError)
    others = {"model", "data", "seed", "passes", "outer", "tokenizer", "protocol"} - {key}
    assert not any(f"{other} is " in str(caught.value) for other in others)


def test_a_site_that_lacks_what_the_program_added_is_refused(town):
    agree(town.store, town.keys, of(config(), tokenizer="t1"))
    with pytest.raises(IdentityMismatch, match="tokenizer is None, the run's is t1"):
        agree(town.store, town.keys, of(config()))


def test_what_a_site_may_choose_for_itself_is_no_part_of_the_identity():
    mine = of(config())
    others = [
        config(telemetry={"step_every": 5}),
        config(coordination={"endpoints": ["10.0.0.1:2379"]}),
        config(policy={"threshold_g_per_kwh": 50.0}),
        config(train={"own": 3}),
    ]
    assert all(of(other) == mine for other in others)
