"""Models whose parameters are of unusual kinds: what is exchanged of them."""

import pytest
import torch

import curtail_dist as cd


def model_of(value):
    """A model of one parameter."""
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(value)
    return model


def wrapped(model, **arguments):
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    return cd.DiLoCo(None, model, inner, sync_every=1, **arguments)


def anchor_of(diloco):
    return diloco.anchor()["weight"].clone()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("codec", ["fp32", "int8"])
def test_what_rounding_takes_from_the_anchor_is_not_taken_for_learned(dtype, codec):
    generator = torch.Generator().manual_seed(3)
    model = model_of(torch.randn(64, generator=generator).to(dtype))
    diloco = wrapped(model, outer=lambda parameters: cd.Nesterov(parameters, momentum=0.0), codec=codec)
    for _ in range(3):
        with torch.no_grad():
            model.weight.add_(0.1 * torch.randn(64, generator=generator).to(dtype))
        diloco.step(tokens=1)
    assert not torch.equal(anchor_of(diloco), model.weight.float()), "the anchor is between two numbers"
    diloco.step(tokens=1)  # an int8 payload leaves something to the next, which is learned
    stood = anchor_of(diloco)
    for _ in range(4):
        diloco.step(tokens=1)
    moved = (anchor_of(diloco) - stood).abs().max()
    assert moved == 0 if codec == "fp32" else moved < 1e-5
