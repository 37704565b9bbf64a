"""How the inner optimizer is set, as `step` events tell it."""

import pytest
import torch

from curtail_dist.runtime.step_log import settings_of


def weights(count: int = 1) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(1)) for _ in range(count)]


def test_the_rate_is_told_as_a_share_of_that_which_the_schedule_began_with():
    inner = torch.optim.SGD(weights(), lr=0.4, momentum=0.9, weight_decay=0.01)
    assert settings_of(inner) == {"momentum": 0.9, "weight_decay": 0.01}
    schedule = torch.optim.lr_scheduler.LambdaLR(inner, lambda step: 1.0 / (1 + step))
    inner.step()
    schedule.step()
    assert settings_of(inner) == {"lr_factor": 0.5, "momentum": 0.9, "weight_decay": 0.01}


def test_the_first_of_the_betas_stands_for_the_momentum():
    inner = torch.optim.AdamW(weights(), lr=1e-3, betas=(0.8, 0.95), weight_decay=0.1)
    assert settings_of(inner) == {"momentum": 0.8, "weight_decay": 0.1}


def test_a_group_with_a_momentum_leads_wherever_it_stands():
    one, two = weights(2)
    groups = [
        {"params": [one], "betas": (0.8, 0.95)},
        {"params": [two], "momentum": 0.95, "initial_lr": 0.02, "lr": 0.01, "weight_decay": 0.3},
    ]
    inner = torch.optim.Optimizer(groups, defaults={})
    assert settings_of(inner) == {"lr_factor": 0.5, "momentum": 0.95, "weight_decay": 0.3}


@pytest.mark.parametrize("initial", [0.0, None, "0.1", torch.zeros(2)])
def test_a_rate_without_a_number_to_divide_it_by_is_not_told(initial):
    inner = torch.optim.SGD(weights(), lr=0.4)
    inner.param_groups[0]["initial_lr"] = initial
    assert "lr_factor" not in settings_of(inner)


def test_a_setting_that_is_a_tensor_is_told_as_its_number():
    inner = torch.optim.SGD(weights(), lr=0.4)
    inner.param_groups[0]["weight_decay"] = torch.tensor(0.25)
    assert settings_of(inner)["weight_decay"] == 0.25
    inner.param_groups[0]["weight_decay"] = torch.zeros((), device="meta")
    assert "weight_decay" not in settings_of(inner)
