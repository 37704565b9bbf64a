"""Models whose parameters are of unusual kinds: what is exchanged of them, and what is refused."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

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


@pytest.fixture
def group():
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def by_fsdp2():
    return fully_shard(torch.nn.Linear(4, 4), mesh=init_device_mesh("cpu", (1,)))


def by_fsdp1():
    return FullyShardedDataParallel(torch.nn.Linear(4, 4), device_id=torch.device("cpu"))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("make", [by_fsdp1, by_fsdp2])
def test_a_model_that_is_divided_among_ranks_is_refused(make):
    with pytest.raises(cd.ConfigError, match=r"is divided among ranks .*; each rank .* by DistributedData"):
        wrapped(make())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: model_of(torch.zeros(4, device="meta")),
            "'weight' is on the meta device; it must have values",
        ),
        (lambda: torch.nn.LazyLinear(4), "'weight' has no shape yet; .* take a batch through the model"),
        (lambda: model_of(torch.zeros(4, dtype=torch.complex64)), "'weight' is of type torch.complex64; it"),
    ],
    ids=["meta", "lazy", "complex"],
)
def test_a_parameter_that_cannot_be_exchanged_is_refused_by_name(make, message):
    with pytest.raises(cd.ConfigError, match=message):
        wrapped(make())


def unfrozen(model):
    model.frozen.requires_grad_(requires_grad=True)


def replaced(model):
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)


@pytest.mark.parametrize(("change", "name"), [(unfrozen, "frozen"), (replaced, "weight")])
def test_a_parameter_that_is_trained_and_not_exchanged_is_named(change, name):
    model = model_of(torch.zeros(4))
    model.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    diloco = wrapped(model)
    diloco.step(tokens=1)
    change(model)
    with pytest.raises(cd.ConfigError, match=f"'{name}' was frozen when DiLoCo was made, or another tensor"):
        diloco.step(tokens=1)


def test_a_parameter_may_be_frozen_and_thawed_again():
    model = model_of(torch.ones(4))
    diloco = wrapped(model)
    for frozen in (True, False):
        model.weight.requires_grad_(not frozen)
        diloco.step(tokens=1)
    assert diloco.version == 2
