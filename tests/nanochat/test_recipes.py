"""The recipes: which rate, decay and batch each variant gives to which parameters."""

import pytest
import torch

from nanochat.model import GPTConfig, build_model, plain
from nanochat.recipes import OptimConfig, OptimConfig202607, build_optimizer, v2026_07

SMALL = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=2, vocab_size=64, sequence_length=8)
NEW = GPTConfig.from_mapping({"depth": 4, "variant": "2026-07", "vocab_size": 512, "sequence_length": 8})


def test_every_parameter_is_in_one_group_with_the_recipes_rate():
    model = build_model(SMALL)
    groups = {g["name"]: g for g in build_optimizer(model, OptimConfig(batch_tokens=2**17)).param_groups}
    held = [p for g in groups.values() for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()} and len(held) == len(
        list(model.parameters())
    )
    width, batch = (32 / 768) ** -0.5, 0.5
    assert groups["embedding"]["lr"] == pytest.approx(0.3 * width * batch)
    assert groups["head"]["lr"] == pytest.approx(0.004 * width * batch)
    assert groups["x0_lambdas"]["lr"] == pytest.approx(0.5 * batch)
    assert groups["residual_lambdas"]["lr"] == pytest.approx(0.005 * batch)
    assert groups["matrices"]["lr"] == pytest.approx(0.02 * batch)
    assert groups["matrices"]["weight_decay"] == pytest.approx(0.2 * 36)
    assert all(p.ndim == 2 for p in groups["matrices"]["params"])


def test_the_new_variants_parameters_have_its_rates_and_decays():
    model = build_model(NEW)
    groups = {
        g["name"]: g for g in build_optimizer(model, OptimConfig202607(batch_tokens=2**17)).param_groups
    }
    width, batch = (256 / 768) ** -0.5, 0.5
    expected = {
        "embedding": (0.3 * width * batch, (0.8, 0.995), 0.001),
        "value_embeddings": (0.15 * width * batch, (0.8, 0.995), 0.01),
        "head": (0.008 * width * batch, (0.8, 0.96), 0.01),
        "x0_lambdas": (0.5 * batch, (0.96, 0.95), 0.0),
        "residual_lambdas": (0.005 * batch, (0.8, 0.95), 0.05),
        "entry": (0.2, (0.8, 0.95), 0.0),
    }
    for name, (lr, betas, decay) in expected.items():
        group = groups[name]
        assert (group["lr"], group["betas"], group["weight_decay"]) == (pytest.approx(lr), betas, decay)
    matrices = groups["matrices"]
    assert (matrices["balanced"], matrices["norm_margin"], matrices["beta2"]) == (True, 1.01, 0.9)
    assert all(p.ndim == 2 for p in matrices["params"])
    twelve = 12 * 12 * 768**2 + 6 * 6 * 12 + 512 * 768
    four = 4 * 12 * 256**2 + 2 * 2 * 12 + 512 * 256
    assert matrices["weight_decay"] == pytest.approx(0.28 * batch * twelve / four)


def test_horizon_and_batch_follow_the_parameters_that_scale():
    for depth in (4, 12, 20):
        config = GPTConfig.from_depth(depth, variant="2026-07")
        with torch.device("meta"):
            model = build_model(config)
        scaling = sum(p.numel() for p in model.blocks.parameters()) + model.head.weight.numel()
        assert v2026_07.scaling_parameters(config) == scaling
        assert v2026_07.horizon_tokens(config) == 12 * scaling
    assert [v2026_07.batch_tokens(GPTConfig.from_depth(d, variant="2026-07")) for d in (4, 12, 20, 32)] == [
        2**18,
        2**19,
        2**20,
        2**21,
    ]


@pytest.mark.parametrize(
    ("variant", "config"), [("2026-01", OptimConfig202607()), ("2026-07", OptimConfig())]
)
def test_settings_of_another_variant_are_refused(variant, config):
    model = build_model(GPTConfig(**{**plain(NEW), "variant": variant}))
    with pytest.raises(ValueError, match=f"optim's variant is '{config.variant}'; it must be {variant}"):
        build_optimizer(model, config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 1}, "optim.lr is no key"),
        ({"matrix_lr": "fast"}, "optim.matrix_lr is 'fast'; it must be a number"),
        ({"adam_betas": [0.8]}, "must be a list of 2 numbers"),
        ({"adam_betas": [0.8, 1.0]}, r"must be in \[0, 1\)"),
        ({"matrix_lr": -1}, "optim.matrix_lr is -1.0; it must be at least 0"),
        ({"batch_tokens": 0}, "optim.batch_tokens is 0; it must be at least 1"),
    ],
)
def test_bad_optimizer_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig.from_mapping(values)


def test_settings_come_from_a_mapping():
    config = OptimConfig.from_mapping({"matrix_lr": 1, "adam_betas": [0.9, 0.99]})
    assert config.matrix_lr == 1.0 and config.adam_betas == (0.9, 0.99)
