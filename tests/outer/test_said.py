"""What may be said of an inner step, and what is refused."""

import math

import numpy as np
import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.said import loss_of, tokens_of


@pytest.mark.parametrize("said", [7, np.int64(7), np.uint8(7), torch.tensor(7), torch.tensor([[7]])])
def test_a_whole_number_of_any_kind_is_a_number_of_tokens(said):
    tokens = tokens_of(said)
    assert (tokens, type(tokens)) == (7, int)


def test_a_step_may_have_no_tokens():
    assert tokens_of(0) == 0


@pytest.mark.parametrize(
    "said",
    [
        -3,
        np.int64(-1),
        torch.tensor(-1),
        math.nan,
        4.5,
        8.0,
        "8",
        None,
        torch.tensor(8.0),
        torch.tensor([1, 2]),
    ],
    ids=repr,
)
def test_what_is_no_whole_number_of_at_least_0_is_refused(said):
    model = torch.nn.Linear(2, 1)
    outer = cd.DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=0.1), sync_every=1)
    with pytest.raises(cd.ConfigError, match=r"tokens in outer\.step\(\) is .*; it must be a whole number"):
        outer.step(tokens=said)
    assert outer.version == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "said",
    [
        1.5,
        np.float32(1.5),
        torch.tensor(1.5),
        torch.tensor([1.5], dtype=torch.bfloat16),
        torch.tensor(1.5, requires_grad=True),
        torch.tensor(1.5, requires_grad=True) * 1.0,
    ],
    ids=repr,
)
def test_a_number_of_any_kind_is_a_loss(said):
    loss = loss_of(said)
    assert (loss, type(loss)) == (1.5, float)


def test_a_loss_need_not_be_finite():
    assert math.isnan(loss_of(torch.tensor(math.nan, requires_grad=True)))
    assert loss_of(math.inf) == math.inf


@pytest.mark.parametrize(
    "said", ["1.5", [1.5], {}, 1j, torch.ones(2), torch.empty(0), torch.tensor(1j)], ids=repr
)
def test_what_is_no_single_number_is_no_loss(said):
    model = torch.nn.Linear(2, 1)
    outer = cd.DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=0.1), sync_every=1)
    with pytest.raises(cd.ConfigError, match=r"the loss of an inner step is .*; it must be one number"):
        outer.step(tokens=1, loss=said)
    assert outer.version == 0
