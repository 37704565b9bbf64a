import copy
import json
import logging

import pytest
import torch

from curtail_dist.state import inner
from curtail_dist.state.sealed import read_sealed, write_sealed
from nanochat.model import GPTConfig, build_model
from nanochat.recipes import OptimConfig, build_optimizer

SHAPES = [(4, 3), (5,), ()]


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def step(optimizer, seed):
    """Take an inner step with gradients drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    optimizer.step()


def held(optimizer):
    return [parameter.detach().clone() for group in optimizer.param_groups for parameter in group["params"]]


def sgd():
    return torch.optim.SGD(parameters(), lr=0.1, momentum=0.9)


def adamw():
    first, *others = parameters()
    groups = [{"params": [first], "lr": 0.01}, {"params": others, "weight_decay": 0.3}]
    return torch.optim.AdamW(groups, lr=0.02, amsgrad=True)


def muon():
    model = build_model(
        GPTConfig(vocab_size=64, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, sequence_length=16), seed=3
    )
    return build_optimizer(model, OptimConfig())


def muon_of_bfloat16():
    model = build_model(
        GPTConfig(vocab_size=64, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, sequence_length=16), seed=3
    )
    return build_optimizer(model.to(torch.bfloat16), OptimConfig())


@pytest.mark.parametrize("make", [sgd, adamw, muon, muon_of_bfloat16])
def test_the_next_step_is_the_same_bit_for_bit(tmp_path, make):
    path, optimizer, returned = tmp_path / "inner", make(), make()
    for seed in range(3):
        step(optimizer, seed)
    inner.save(path, optimizer, at=10.0)
    with torch.no_grad():
        for mine, kept in zip(held_parameters(returned), held(optimizer), strict=True):
            mine.copy_(kept)
    assert inner.load(path, returned, now=20.0, max_age_s=10.0) is not None
    for seed in (3, 4):
        step(optimizer, seed)
        step(returned, seed)
    assert all(torch.equal(a, b) for a, b in zip(held(optimizer), held(returned), strict=True))
    for a, b in zip(held_parameters(optimizer), held_parameters(returned), strict=True):
        for key, value in optimizer.state[a].items():
            assert optimizer.state[a][key].dtype == returned.state[b][key].dtype
            assert torch.equal(value, returned.state[b][key])


def held_parameters(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def test_without_the_state_the_next_step_is_another():
    optimizer, fresh = sgd(), sgd()
    step(optimizer, 0)
    with torch.no_grad():
        for mine, kept in zip(held_parameters(fresh), held(optimizer), strict=True):
            mine.copy_(kept)
    step(optimizer, 1)
    step(fresh, 1)
    assert not all(torch.equal(a, b) for a, b in zip(held(optimizer), held(fresh), strict=True))


def test_settings_are_the_scripts_own(tmp_path):
    optimizer, returned = sgd(), torch.optim.SGD(parameters(), lr=0.5, momentum=0.8)
    step(optimizer, 0)
    inner.save(tmp_path / "inner", optimizer, at=0.0)
    assert inner.load(tmp_path / "inner", returned, now=0.0, max_age_s=1.0) is not None
    assert returned.param_groups[0]["lr"] == 0.5
    assert returned.param_groups[0]["momentum"] == 0.8


def test_an_optimizer_that_never_stepped_is_kept_too(tmp_path):
    inner.save(tmp_path / "inner", adamw(), at=0.0)
    returned = adamw()
    step(returned, 0)
    assert inner.load(tmp_path / "inner", returned, now=0.0, max_age_s=1.0) is not None
    assert not returned.state


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (lambda: torch.optim.SGD(parameters()[:2], lr=0.1, momentum=0.9), "another model or optimizer"),
        (lambda: torch.optim.SGD(reversed(parameters()), lr=0.1, momentum=0.9), "another model or optimizer"),
        (
            lambda: torch.optim.SGD(parameters(torch.bfloat16), lr=0.1, momentum=0.9),
            "another model or optimizer",
        ),
        (lambda: torch.optim.SGD(parameters(), lr=0.1, momentum=0.9, nesterov=True), "another model"),
        (adamw, "another model or optimizer"),
    ],
)
def test_the_state_of_another_optimizer_is_not_taken(tmp_path, caplog, other, reason):
    optimizer, returned = sgd(), other()
    step(optimizer, 0)
    inner.save(tmp_path / "inner", optimizer, at=0.0)
    step(returned, 0)
    before = copy.deepcopy(returned.state_dict())
    assert inner.load(tmp_path / "inner", returned, now=0.0, max_age_s=1.0) is None
    assert str(before) == str(returned.state_dict())
    assert reason in caplog.text


@pytest.mark.parametrize(("now", "taken"), [(100.0, 100.0), (160.0, 100.0), (160.1, None), (99.9, None)])
def test_only_a_fresh_state_is_taken(tmp_path, caplog, now, taken):
    optimizer = sgd()
    step(optimizer, 0)
    inner.save(tmp_path / "inner", optimizer, at=100.0)
    assert inner.load(tmp_path / "inner", sgd(), now=now, max_age_s=60.0) == taken
    assert ("s old; at most 60 are taken" in caplog.text) == (taken is None)


def test_without_a_file_the_site_begins_afresh(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert inner.load(tmp_path / "inner", sgd(), now=0.0, max_age_s=1.0) is None
    assert "there is no" in caplog.text


def test_a_broken_file_never_raises_and_never_counts(tmp_path):
    path, optimizer = tmp_path / "inner", sgd()
    step(optimizer, 0)
    inner.save(path, optimizer, at=0.0)
    whole = path.read_bytes()
    broken = [whole[:length] for length in range(0, len(whole), 7)]
    broken += [whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :] for at in range(len(whole))]
    returned = sgd()
    for content in [*broken, b"", b"garbage", json.dumps({"at": 0}).encode()]:
        path.write_bytes(content)
        assert inner.load(path, returned, now=0.0, max_age_s=1.0) is None
        assert not returned.state


def test_a_directory_in_its_place_is_no_state(tmp_path):
    assert inner.load(tmp_path, sgd(), now=0.0, max_age_s=1.0) is None


def test_saving_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    path, optimizer = tmp_path / "deep" / "inner", sgd()
    for at in (1.0, 2.0):
        step(optimizer, 0)
        inner.save(path, optimizer, at=at)
    assert [one.name for one in path.parent.iterdir()] == ["inner"]
    assert inner.load(path, sgd(), now=1.5, max_age_s=9.0) is None, "the second one is from the future"


class Plain(torch.optim.Optimizer):
    """An optimizer whose state has a value of each plain kind."""

    VALUES = {  # noqa: RUF012 - never changed
        "steps": 3,
        "scale": 0.1,
        "huge": float("inf"),
        "warm": True,
        "name": "x/y",
        "none": None,
        "count": torch.tensor(7),
        "factor": torch.tensor(0.5, dtype=torch.float64),
        "nothing": torch.empty(0, 3),
        "moment": torch.arange(12, dtype=torch.bfloat16).view(3, 4).t(),
    }

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.1})

    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = dict(self.VALUES)


def test_plain_values_and_small_tensors_keep_their_kinds(tmp_path):
    optimizer, returned = Plain(parameters()), Plain(parameters())
    optimizer.step()
    inner.save(tmp_path / "inner", optimizer, at=0.0)
    assert inner.load(tmp_path / "inner", returned, now=0.0, max_age_s=1.0) is not None
    for parameter in held_parameters(returned):
        state = returned.state[parameter]
        assert state.keys() == Plain.VALUES.keys()
        for key, value in Plain.VALUES.items():
            assert type(state[key]) is type(value), key
            if isinstance(value, torch.Tensor):
                assert (state[key].dtype, state[key].shape) == (value.dtype, value.shape), key
                assert torch.equal(state[key], value), key
            else:
                assert state[key] == value, key


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_a_state_with_a_number_that_is_not_finite_is_not_written(tmp_path, caplog, number, dtype):
    optimizer = sgd()
    step(optimizer, 0)
    inner.save(tmp_path / "inner", optimizer, at=1.0)
    moment = torch.ones(3).index_fill_(0, torch.tensor([1]), number).to(dtype)
    optimizer.state[held_parameters(optimizer)[1]]["momentum_buffer"] = moment
    assert not inner.is_finite(optimizer)
    inner.save(tmp_path / "inner", optimizer, at=2.0)
    assert "not finite: it is not kept" in caplog.text
    returned = sgd()
    assert inner.load(tmp_path / "inner", returned, now=2.0, max_age_s=9.0) == 1.0, "what was there stays"
    assert inner.is_finite(returned)


def test_a_state_on_the_disk_with_a_number_that_is_not_finite_is_not_taken(tmp_path, caplog):
    path, optimizer, returned = tmp_path / "inner", sgd(), sgd()
    step(optimizer, 0)
    inner.save(path, optimizer, at=0.0)
    tensors, facts = read_sealed(path, schema=inner.SCHEMA)
    tensors["0/momentum_buffer"][1, 2] = float("nan")
    write_sealed(path, tensors, facts, schema=inner.SCHEMA)
    assert inner.load(path, returned, now=0.0, max_age_s=1.0) is None
    assert not returned.state
    assert "not taken: it has numbers that are not finite" in caplog.text


class Wrapped(torch.Tensor):
    """A tensor whose bytes are not all there is to it."""


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
        torch.ones(2).as_subclass(Wrapped),
        [1, 2],
    ],
    ids=["complex", "sparse", "subclass", "list"],
)
def test_a_state_that_bytes_do_not_carry_is_not_kept_and_does_not_stop_the_site(tmp_path, caplog, odd):
    optimizer = sgd()
    step(optimizer, 0)
    optimizer.state[held_parameters(optimizer)[1]]["odd"] = odd
    inner.save(tmp_path / "inner", optimizer, at=0.0)
    assert "its state is not kept" in caplog.text
    assert not (tmp_path / "inner").exists()


def test_an_optimizer_with_odd_state_is_not_kept(tmp_path, caplog):
    optimizer = torch.optim.LBFGS(parameters()[:1])
    values = optimizer.param_groups[0]["params"]

    def loss():
        optimizer.zero_grad()
        total = (values[0] ** 2).sum()
        total.backward()
        return total

    optimizer.step(loss)
    inner.save(tmp_path / "inner", optimizer, at=0.0)
    assert "its state is not kept" in caplog.text
    assert inner.load(tmp_path / "inner", optimizer, now=0.0, max_age_s=1.0) is None
