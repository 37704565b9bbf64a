"""The loss and its gradients are those of the plain reference, whichever way attention is computed."""

from types import SimpleNamespace

import plain_model
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from nanochat.model import GPTConfig, build_model

SHAPES = {
    "one window": {"window_pattern": "L", "n_kv_head": 3},
    "grouped": {"window_pattern": "L", "n_kv_head": 1},
    "short windows": {"window_pattern": "SL", "n_kv_head": 1},
}
LENGTHS = {"2026-01": (16, 20), "2026-07": (256, 133)}
"""Sequence length of the config, and of what is asked: beyond the short window, which is 8 or 128."""


def a_model(variant, name):
    shape = {"n_layer": 3, "n_embd": 48, "n_head": 3, "vocab_size": 70, **SHAPES[name]}
    model = build_model(GPTConfig(variant=variant, sequence_length=LENGTHS[variant][0], **shape), seed=3)
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):  # no weight stays where it does nothing
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    length = LENGTHS[variant][1]
    text = torch.randint(0, 70, (length + 1,), generator=torch.Generator().manual_seed(9))
    return model, text[:-1], text[1:]


def loss_and_gradients(model, inputs, targets):
    model.zero_grad()
    loss = model(inputs[None], targets[None])
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters()}


def most_apart(found, expected):
    """Of the gradients, relative to the largest number of each."""
    return max(
        ((found[name] - grad).abs().max() / grad.abs().max().clamp_min(1e-6)).item()
        for name, grad in expected.items()
    )


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("variant", LENGTHS)
def test_loss_and_gradients_are_those_of_the_plain_reference(variant, name):
    model, inputs, targets = a_model(variant, name)
    leaves = {key: value.double().requires_grad_() for key, value in model.state_dict().items()}
    plain = SimpleNamespace(config=model.config, state_dict=lambda: leaves)
    expected = torch.nn.functional.cross_entropy(plain_model.logits(plain, inputs), targets)
    expected.backward()
    loss, found = loss_and_gradients(model, inputs, targets)
    assert abs(loss - expected.item()) < 1e-5
    assert found.keys() == leaves.keys()
    assert most_apart(found, {key: leaf.grad for key, leaf in leaves.items()}) < 1e-4
    assert all(grad.abs().max() > 0 for grad in found.values())


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("variant", LENGTHS)
def test_loss_and_gradients_are_the_same_by_every_kernel_of_torch(variant, name):
    """On the CPU there are two: scores written out, and the blockwise one."""
    model, *text = a_model(variant, name)
    with sdpa_kernel(SDPBackend.MATH):
        loss, expected = loss_and_gradients(model, *text)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        other, found = loss_and_gradients(model, *text)
    assert abs(loss - other) < 1e-5
    assert 0 < most_apart(found, expected) < 1e-4, "two kernels do not round alike"


@pytest.mark.parametrize("variant", LENGTHS)
def test_a_window_that_holds_all_gives_what_no_window_gives(variant):
    """Beyond it they differ, and attention has a mask."""
    model, inputs, targets = a_model(variant, "short windows")
    full, *_ = a_model(variant, "grouped")
    full.load_state_dict(model.state_dict())
    short = min(window for window in model.config.windows if window is not None)
    text = inputs[:short], targets[:short]
    loss, expected = loss_and_gradients(full, *text)
    other, found = loss_and_gradients(model, *text)
    assert loss == pytest.approx(other, abs=1e-5) and most_apart(found, expected) < 1e-4
    beyond = loss_and_gradients(full, inputs, targets), loss_and_gradients(model, inputs, targets)
    assert most_apart(beyond[1][1], beyond[0][1]) > 1e-2
