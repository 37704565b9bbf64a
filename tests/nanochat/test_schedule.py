import pytest
import torch

from nanochat.model import GPTConfig, build_model
from nanochat.recipes import OptimConfig, Schedule202607, build_optimizer
from nanochat.schedule import Schedule, apply


def test_the_recipe_has_no_warm_up_and_falls_to_zero_over_the_last_two_fifths():
    schedule = Schedule()
    assert [schedule.lr_factor(p) for p in (0.0, 0.3, 0.6)] == [1.0, 1.0, 1.0]
    assert schedule.lr_factor(0.8) == pytest.approx(0.5)
    assert schedule.lr_factor(1.0) == 0.0


def test_a_warm_up_rises_and_a_floor_holds():
    schedule = Schedule(warmup_share=0.1, final_lr_factor=0.05)
    assert schedule.lr_factor(0.05) == pytest.approx(0.5)
    assert schedule.lr_factor(1.0) == pytest.approx(0.05)


def test_momentum_warms_up_over_300_of_23400_steps():
    schedule = Schedule()
    assert schedule.muon_momentum(0.0) == 0.85
    assert schedule.muon_momentum(150 / 23_400) == pytest.approx(0.90)
    assert schedule.muon_momentum(0.5) == pytest.approx(0.95)


def test_decay_fades_linearly():
    assert [Schedule().weight_decay_factor(p) for p in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_more_than_the_plan_counts_as_the_plan_and_less_than_nothing_is_refused():
    assert Schedule().lr_factor(1.2) == 0.0
    assert Schedule(final_lr_factor=0.1).lr_factor(7.0) == pytest.approx(0.1)
    assert Schedule().weight_decay_factor(1.2) == 0.0
    assert Schedule().muon_momentum(1.2) == pytest.approx(0.95)
    with pytest.raises(ValueError, match=r"progress is -0\.1; it must be at least 0"):
        Schedule().lr_factor(-0.1)


def test_no_shares_of_zero_length_divide_by_zero():
    flat = Schedule(warmdown_share=0.0, momentum_warmup_share=0.0)
    assert flat.lr_factor(1.0) == 1.0 and flat.muon_momentum(0.0) == pytest.approx(0.95)


def test_applying_sets_rates_without_compounding():
    config = GPTConfig(n_layer=1, n_embd=16, n_head=1, n_kv_head=1, vocab_size=64, sequence_length=8)
    optimizer = build_optimizer(build_model(config), OptimConfig())
    for _ in range(2):
        assert apply(optimizer, Schedule(), 0.8) == pytest.approx(0.5)
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(group["initial_lr"] * 0.5)
    muon = optimizer.param_groups[-1]
    assert muon["weight_decay"] == pytest.approx(muon["initial_weight_decay"] * 0.2)
    assert muon["momentum"] == pytest.approx(0.95)
    assert isinstance(optimizer, torch.optim.Optimizer)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"warmdown": 0.1}, "schedule.warmdown is no key"),
        ({"warmdown_share": 1.5}, r"schedule.warmdown_share is 1.5; it must be in \[0, 1\]"),
        ({"warmup_share": 0.7}, "must be at most 1"),
        ({"momentum_end": 1.0}, "schedule.momentum_end is 1.0"),
    ],
)
def test_a_bad_schedule_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Schedule.from_mapping(values)


def test_the_new_variant_warms_up_over_steps_and_falls_to_a_twentieth():
    schedule = Schedule202607.for_steps(1_000)
    assert schedule.lr_factor(20 / 1_000) == pytest.approx(0.5)
    assert [schedule.lr_factor(p) for p in (0.04, 0.2, 0.35)] == [1.0, 1.0, 1.0]
    assert schedule.lr_factor(0.675) == pytest.approx((1 + 0.05) / 2)
    assert [schedule.lr_factor(p) for p in (1.0, 1.3)] == pytest.approx([0.05, 0.05])


def test_the_new_variants_momentum_rises_over_400_steps_and_falls_in_the_warm_down():
    schedule = Schedule202607.for_steps(4_000)
    found = [schedule.muon_momentum(p) for p in (0.0, 200 / 4_000, 0.1, 0.35, 0.675, 1.0, 1.3)]
    assert found == pytest.approx([0.85, 0.91, 0.97, 0.97, 0.935, 0.90, 0.90])


def test_the_new_variants_decay_fades_like_a_cosine():
    found = [Schedule202607().weight_decay_factor(p) for p in (0.0, 0.25, 0.5, 1.0, 1.3)]
    assert found == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, 0.0, 0.0])


def test_a_run_shorter_than_its_warm_ups_still_has_a_schedule():
    schedule = Schedule202607.for_steps(30)
    assert schedule.lr_factor(0.35) == 1.0 and schedule.lr_factor(0.1) < 0.3
    assert Schedule.for_steps(30) == Schedule()
