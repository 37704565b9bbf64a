"""What may be said of an inner step, and what is refused."""

import math

import numpy as np
import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.said import tokens_of


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
