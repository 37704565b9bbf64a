"""DiLoCo without a site, against the definition written out with torch.optim.SGD."""

import threading

import pytest
import torch

import curtail_dist as cd
from curtail_dist.outer.anchor import Anchor

ROUNDS, STEPS = 20, 3


class Net(torch.nn.Module):
    """Awkward on purpose: a tied weight, a frozen parameter, a scalar, a size that does not tile."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.inp = torch.nn.Parameter(torch.randn(7, 13, generator=generator))
        self.out = self.inp
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        return (x @ self.inp) @ self.out.t() * self.scale


def inner_steps(model, inner, rank, round):
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(1000 * rank + 10 * round + step)
        x = torch.randn(4, 7, generator=generator)
        (model(x) - x).square().mean().backward()
        inner.step()
        inner.zero_grad()
        yield 10 + rank  # tokens of the step: sites weigh differently


def train(model, exchange, outer=None, rounds=ROUNDS):
    inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
    diloco = cd.DiLoCo(None, model, inner, outer=outer, sync_every=STEPS, exchange=exchange)
    history = []
    for round in range(rounds):
        for tokens in inner_steps(model, inner, exchange.rank if exchange else 0, round):
            diloco.step(tokens=tokens)
        history.append({name: value.clone() for name, value in diloco.anchor().items()})
    return history


def train_group(size, outer=None, rounds=ROUNDS):
    members = cd.InProcess.group(size, timeout=30)
    histories = [None] * size

    def run(rank):
        histories[rank] = train(Net(), members[rank], outer, rounds)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return histories


def reference(size, make_outer, rounds=ROUNDS):
    """The outer loop by the book: every site starts from theta, theta steps on the mean pseudo-gradient."""
    models = [Net() for _ in range(size)]
    inners = [torch.optim.AdamW(model.parameters(), lr=1e-2) for model in models]
    names = sorted(name for name, value in models[0].named_parameters() if value.requires_grad)
    theta = {name: dict(models[0].named_parameters())[name].detach().clone() for name in names}
    params = {name: torch.nn.Parameter(theta[name]) for name in names}
    outer = make_outer(list(params.values()))
    history = []
    for round in range(rounds):
        weights = [
            float(sum(inner_steps(model, inner, rank, round)))
            for rank, (model, inner) in enumerate(zip(models, inners, strict=True))
        ]
        total = sum(weights)
        for name, parameter in params.items():
            mean = torch.zeros_like(parameter)
            for model, weight in zip(models, weights, strict=True):
                mean.add_(
                    parameter.detach() - dict(model.named_parameters())[name].detach(), alpha=weight / total
                )
            parameter.grad = mean
        outer.step()
        for model in models:
            for name, parameter in params.items():
                dict(model.named_parameters())[name].data.copy_(parameter.data)
        history.append({name: parameter.detach().clone() for name, parameter in params.items()})
    return history


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            assert torch.equal(mine[name], other[name]), name


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_outer_step_is_sgd_nesterov_on_the_mean_bit_for_bit_over_20_rounds(size):
    expected = reference(size, lambda params: torch.optim.SGD(params, lr=0.7, momentum=0.9, nesterov=True))
    for history in train_group(size):
        assert_equal(history, expected)


def test_plain_averaging_takes_the_mean_of_the_sites():
    expected = reference(2, lambda params: torch.optim.SGD(params, lr=1.0), rounds=4)
    for history in train_group(2, cd.Average, rounds=4):
        assert_equal(history, expected)


def test_any_torch_optimizer_may_be_the_outer_one():
    expected = reference(2, lambda params: torch.optim.AdamW(params, lr=0.1), rounds=4)
    for history in train_group(2, lambda params: torch.optim.AdamW(params, lr=0.1), rounds=4):
        assert_equal(history, expected)


class Counting(torch.optim.Optimizer):
    """Averages what it was given so far, by a count that is a number and not a tensor."""

    def __init__(self, params):
        super().__init__(params, {})

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            if not state:
                state.update(count=0, share=1.0, mean=torch.zeros_like(parameter))
            state["count"] += 1
            state["share"] = 1.0 / state["count"]
            state["mean"].lerp_(parameter.grad, float(state["share"]))
            parameter.sub_(state["mean"])


def test_an_outer_optimizer_of_ones_own_may_keep_numbers_in_its_state():
    expected = reference(2, Counting, rounds=4)
    for history in train_group(2, Counting, rounds=4):
        assert_equal(history, expected)


def test_stepping_leaves_the_version_before_untouched():
    anchor = Anchor(0, {"w": torch.ones(4)}, cd.Nesterov)
    first = anchor.stepped({"w": torch.ones(4)})
    before = first.version.hash
    second = first.stepped({"w": torch.ones(4)})
    assert (anchor.number, first.number, second.number) == (0, 1, 2)
    assert torch.equal(anchor.parameters["w"], torch.ones(4))
    assert Anchor.from_version(first.version, cd.Nesterov).version.hash == before


def test_a_version_resumed_steps_as_one_that_was_never_left():
    anchor = Anchor(0, {"b": torch.zeros(2), "a": torch.ones(3)}, cd.Nesterov)

    def gradient():
        return {"a": torch.full((3,), 0.3), "b": torch.full((2,), 0.1)}

    through = anchor.stepped(gradient()).stepped(gradient()).stepped(gradient())
    paused = anchor.stepped(gradient())
    shuffled = dict(reversed(list(paused.version.tensors.items())))
    resumed = Anchor.from_version(type(paused.version)(number=1, tensors=shuffled), cd.Nesterov)
    assert resumed.stepped(gradient()).stepped(gradient()).version.hash == through.version.hash


def test_a_site_with_numbers_that_are_not_finite_is_left_out():
    members = cd.InProcess.group(2, timeout=30)
    anchors = [None, None]

    def run(rank):
        model = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(model.bias)
        inner = torch.optim.SGD(model.parameters(), lr=0.1)
        diloco = cd.DiLoCo(None, model, inner, outer=cd.Average, sync_every=1, exchange=members[rank])
        with torch.no_grad():
            model.weight.fill_(float("nan") if rank else 3.0)
        diloco.step(tokens=5)
        anchors[rank] = diloco.anchor()["weight"]

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(torch.equal(anchor, torch.full((2, 2), 3.0)) for anchor in anchors)


@pytest.mark.parametrize("delay", [0, 1])
def test_one_batch_that_is_not_finite_costs_one_round_and_not_those_after_it(delay):
    model = Net()
    inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
    diloco = cd.DiLoCo(None, model, inner, sync_every=STEPS, sync_delay=delay)
    diloco.begin_warmup(4)
    versions = []
    for round in range(4):
        for step, _ in enumerate(inner_steps(model, inner, 0, round)):
            if (round, step) == (1, 0):
                with torch.no_grad():
                    for state in inner.state.values():
                        state["exp_avg"].fill_(float("nan"))
                    model.inp.fill_(float("nan"))
            diloco.step(tokens=10)
        versions.append(diloco.version)
        if round == 1:
            assert not inner.state
            assert diloco.warmup == pytest.approx(1 / 5)
    assert versions == [1, 1, 2, 3]
    assert all(value.isfinite().all() for value in diloco.anchor().values())


def test_close_leaves_the_model_at_the_anchor():
    model = Net()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    diloco = cd.DiLoCo(None, model, inner, sync_every=100)
    for tokens in inner_steps(model, inner, 0, 0):
        diloco.step(tokens=tokens)
    assert not torch.equal(model.inp, diloco.anchor()["inp"])
    diloco.close()
    diloco.close()
    assert torch.equal(model.inp, diloco.anchor()["inp"])


@pytest.mark.parametrize("delay", [0, 1])
def test_a_step_after_the_end_is_refused(delay):
    model = Net()
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    diloco = cd.DiLoCo(None, model, inner, sync_every=2, sync_delay=delay)
    diloco.close()
    with pytest.raises(cd.ConfigError, match=r"outer\.step\(\) was called after outer\.close\(\)"):
        diloco.step(tokens=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "sync_every is None"),
        ({"sync_every": 0}, "sync_every is 0"),
        ({"sync_every": 2, "sync_delay": 2}, "sync_delay is 2"),
        ({"sync_every": 2, "fragments": []}, "are in no fragment"),
        ({"sync_every": 2, "codec": "int2"}, "codec is 'int2'"),
        ({"sync_every": 4.0}, r"sync_every is 4\.0; without a site it must be a whole number, at least 1"),
        ({"sync_every": 4, "sync_delay": 1.5}, r"sync_delay is 1\.5; it must be a whole number"),
        ({"sync_every": 4, "sync_delay": "1"}, "sync_delay is '1'; it must be a whole number"),
        (
            {"sync_every": 4, "fragments": -1},
            "fragments is -1; it must be a whole number, at least 1, or a list",
        ),
        (
            {"sync_every": 4, "fragments": 0},
            "fragments is 0; it must be a whole number, at least 1, or a list",
        ),
        ({"sync_every": 4, "fragments": 2.0}, r"fragments is 2\.0; it must be a whole number"),
        ({"sync_every": 4, "fragments": ["inp"]}, r"fragments is \['inp'\]; it must be .* a list of modules"),
        ({"sync_every": 4, "fragments": Net()}, r"fragments is Net\(\); it must be .* a list of modules"),
        ({"sync_every": 4, "fragments": 4}, "^fragments is 4; this model has only 2 blocks"),
        ({"sync_every": 4, "mix_alpha": "0.5"}, r"mix_alpha is '0\.5'; it must be a number in \[0, 1\]"),
        ({"sync_every": 4, "mix_alpha": float("nan")}, r"mix_alpha is nan; it must be a number"),
        (
            {"sync_every": 4, "outer": torch.optim.SGD(Net().parameters(), lr=0.7)},
            "outer is an instance of SGD; it must be what makes one",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_one_clear_error(arguments, message):
    model = Net()
    with pytest.raises(cd.ConfigError, match=message):
        cd.DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=0.1), **arguments)


def test_an_optimizer_that_holds_none_of_the_models_parameters_is_refused():
    for other in (Net().parameters(), [Net().frozen]):
        with pytest.raises(cd.ConfigError, match="holds none of the model's parameters"):
            cd.DiLoCo(None, Net(), torch.optim.SGD(other, lr=0.1), sync_every=1)


def test_an_optimizer_may_hold_some_of_the_models_parameters():
    model = Net()
    cd.DiLoCo(None, model, torch.optim.SGD([model.scale], lr=0.1), sync_every=1)


RESTARTING = cd.OuterRules(momentum="restart")


def slower(parameters):
    return cd.Nesterov(parameters, lr=0.5)


class Wider(Net):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(2))


class Elsewhere(Net):
    def __init__(self):
        super().__init__()
        torch.nn.init.constant_(self.scale, 0.75)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Wider, {}, "rank 1 of the group does not have rank 0's model; all must begin alike: give each"),
        (Elsewhere, {}, "rank 1 of the group does not have rank 0's parameters; all must begin alike: seed"),
        (Net, {"codec": "int8"}, "rank 1 of the group does not have rank 0's codec"),
        (Net, {"fragments": 2}, "rank 1 of the group does not have rank 0's fragments"),
        (Net, {"outer": slower}, "rank 1 of the group does not have rank 0's outer optimizer"),
        (Net, {"outer": cd.Average}, "rank 1 of the group does not have rank 0's outer optimizer"),
        (Net, {"rules": RESTARTING}, "rank 1 of the group does not have rank 0's outer optimizer"),
    ],
)
def test_members_of_a_group_that_do_not_begin_alike_are_all_told_so(make, arguments, message, delay):
    members, errors = cd.InProcess.group(2, timeout=30), [None, None]

    def run(rank):
        model, given = (make(), arguments) if rank else (Net(), {})
        inner = torch.optim.SGD(model.parameters(), lr=0.1)
        diloco = cd.DiLoCo(
            None, model, inner, sync_every=4, sync_delay=delay, exchange=members[rank], **given
        )
        try:
            for _ in range(4):
                diloco.step(tokens=1)
        except cd.ConfigError as error:
            errors[rank] = str(error)
        diloco.close()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors[0] == errors[1]
    assert message in errors[0]
