"""Fragments, delay and mixing against the definition, written out for scalars in plain Python."""

import threading

import pytest
import torch

import curtail_dist as cd

EVERY, FRAGMENTS, STEPS, OUTER_LR, INNER_LR = 6, 2, 24, 0.7, 0.1


class Scalars(torch.nn.Module):
    """Two modules of one number each: two fragments."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleList(torch.nn.ParameterList([torch.tensor(1.0 + i)]) for i in range(2))

    @property
    def values(self):
        return [part[0] for part in self.parts]


def gradient(value, fragment, step, site):
    """Made up: depends on the place, so that what is taken when shows in the numbers."""
    return value * 0.3 + 0.1 * (step % 5) - 0.05 * fragment + 0.02 * site


def by_definition(tau, alpha, *, sites, steps=STEPS):
    """(local values by site, anchor values) after each inner step."""
    anchor, local = [1.0, 2.0], [[1.0, 2.0] for _ in range(sites)]
    period, taken, history = EVERY // FRAGMENTS, None, []
    for step in range(1, steps + 1):
        for site, values in enumerate(local):
            for f in range(FRAGMENTS):
                values[f] -= INNER_LR * gradient(values[f], f, step, site)
        if (step + tau) % period == 0:
            turn = ((step + tau) // period - 1) % FRAGMENTS
            taken = sum(anchor[turn] - values[turn] for values in local) / sites
        if step % period == 0:
            turn = (step // period - 1) % FRAGMENTS
            anchor[turn] -= OUTER_LR * taken
            for values in local:
                values[turn] = anchor[turn] + alpha * (values[turn] - anchor[turn])
        history.append(([list(values) for values in local], list(anchor)))
    return history


def run_site(member, site, tau, alpha, found):
    model = Scalars()
    inner = torch.optim.SGD(model.parameters(), lr=INNER_LR)
    outer = cd.DiLoCo(
        None,
        model,
        inner,
        outer=lambda params: torch.optim.SGD(params, lr=OUTER_LR),
        sync_every=EVERY,
        fragments=list(model.parts),
        sync_delay=tau,
        mix_alpha=alpha,
        exchange=member,
    )
    for step in range(1, STEPS + 1):
        for f, value in enumerate(model.values):
            value.grad = torch.tensor(gradient(value.item(), f, step, site))
        inner.step()
        outer.step(tokens=8)
        anchors = outer.anchor()
        found[site].append(
            ([value.item() for value in model.values], [anchors[f"parts.{f}.0"].item() for f in range(2)])
        )
    outer.close()
    found[site].append([value.item() for value in model.values])
    found[site].append([outer.anchor()[f"parts.{f}.0"].item() for f in range(2)])


def together(sites, run):
    members = cd.InProcess.group(sites, timeout=30)
    threads = [threading.Thread(target=run, args=(members[site], site)) for site in range(sites)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tau", [0, 1, 2])
@pytest.mark.parametrize("sites", [1, 2])
def test_local_and_anchor_values_follow_the_definition_after_every_inner_step(sites, tau, alpha):
    found = [[] for _ in range(sites)]
    together(sites, lambda member, site: run_site(member, site, tau, alpha, found))
    expected = by_definition(tau, alpha, sites=sites)
    for site in range(sites):
        *steps, at_close, anchor = found[site]
        for step, ((local, anchors), (all_local, by_the_book)) in enumerate(
            zip(steps, expected, strict=True)
        ):
            assert local == pytest.approx(all_local[site], abs=1e-5), (site, step)
            assert anchors == pytest.approx(by_the_book, abs=1e-5), (site, step)
        assert at_close == anchor


def test_a_close_while_an_exchange_is_under_way_lands_it_at_all_sites():
    found = [None, None]

    def run(member, site):
        model = Scalars()
        inner = torch.optim.SGD(model.parameters(), lr=1.0)
        outer = cd.DiLoCo(
            None, model, inner, outer=cd.Average, sync_every=6, fragments=2, sync_delay=2, exchange=member
        )
        with torch.no_grad():
            model.values[0].fill_(3.0 + 2 * site)
        outer.step(tokens=1)
        outer.close()
        found[site] = [value.item() for value in model.values]

    together(2, run)
    assert found == [[4.0, 2.0], [4.0, 2.0]]


class Block(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(size))


class Model(torch.nn.Module):
    """Blocks, and what stands around them in a language model."""

    def __init__(self, blocks=5):
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 4)
        self.blocks = torch.nn.ModuleList(Block(10) for _ in range(blocks))
        self.head = torch.nn.Linear(4, 49, bias=True)
        self.gain = torch.nn.Parameter(torch.ones(1))


def test_the_default_fragments_stride_the_blocks_and_put_embedding_and_head_apart():
    model = Model()
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    outer = cd.DiLoCo(None, model, inner, sync_every=6, fragments=2)
    first, second = outer.fragments
    assert {"blocks.0.w", "blocks.2.w", "blocks.4.w"} <= set(first)
    assert {"blocks.1.w", "blocks.3.w"} <= set(second)
    assert ("embedding.weight" in first) != ("head.weight" in first)
    assert ("head.weight" in first) == ("head.bias" in first)
    assert sorted([*first, *second]) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sync_every": 7, "fragments": 2}, "sync_every is 7; it must be a multiple"),
        (
            {"sync_every": 6, "fragments": 2, "sync_delay": 3},
            "sync_delay is 3; it must be a whole number, at least 0 and less",
        ),
        ({"sync_every": 6, "mix_alpha": 1.5}, "mix_alpha is 1.5"),
        ({"sync_every": 90, "fragments": 10}, "^fragments is 10; this model has only 9"),
    ],
)
def test_fragments_and_delays_that_do_not_fit_are_refused(arguments, message):
    model = Model()
    with pytest.raises(cd.ConfigError, match=message):
        cd.DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=1.0), **arguments)


def test_a_parameter_in_no_fragment_or_in_two_is_named_and_so_is_a_fragment_without_one():
    model = Model()
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(cd.ConfigError, match=r"'gain' for one; fragments must hold all"):
        cd.DiLoCo(None, model, inner, sync_every=2, fragments=[model.embedding, model.blocks, model.head])
    with pytest.raises(cd.ConfigError, match=r"fragment 1, ReLU, has no parameter .* leave it out"):
        cd.DiLoCo(None, model, inner, sync_every=2, fragments=[model, torch.nn.ReLU()])
    with pytest.raises(cd.ConfigError, match=r"both have the parameter 'weight'"):
        cd.DiLoCo(None, model, inner, sync_every=2, fragments=[model, model.head])


class Awkward(torch.nn.Module):
    """Tied, frozen, bf16 beside fp32, not contiguous, sizes that fit no block, one larger than all others."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def some(*shape):
            return torch.randn(*shape, generator=generator)

        self.layers = torch.nn.ModuleList([torch.nn.Module() for _ in range(3)])
        self.layers[0].odd = torch.nn.Parameter(some(7, 13).t())
        self.layers[0].narrow = torch.nn.Parameter(some(129).bfloat16())
        self.layers[1].large = torch.nn.Parameter(some(513, 67))
        self.layers[1].tied = self.layers[0].odd
        self.layers[2].scalar = torch.nn.Parameter(some(()))
        self.layers[2].empty = torch.nn.Parameter(torch.zeros(0, 5))
        self.layers[2].frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
        self.layers[2].slice = torch.nn.Parameter(some(8, 9)[:, ::3])


@pytest.mark.parametrize("fragments", [1, 2, 3])
@pytest.mark.parametrize("codec", ["fp32", "bf16", "int8", "int4"])
def test_tensors_of_awkward_kinds_come_out_as_one_by_one_without_fragments(codec, fragments):
    """Each fragment is encoded for itself: what F = 1 would need is the mean of the decoded parts."""
    weights, found = [3, 5], [None, None]

    def change(model, site):
        generator = torch.Generator().manual_seed(site)
        with torch.no_grad():
            for value in model.parameters():
                if value.requires_grad:
                    value.add_(torch.randn(value.shape, generator=generator).to(value.dtype) * 0.1)

    def run(member, site):
        model = Awkward()
        inner = torch.optim.SGD(model.parameters(), lr=1.0)
        outer = cd.DiLoCo(
            None,
            model,
            inner,
            outer=cd.Average,
            sync_every=fragments,
            fragments=fragments,
            exchange=member,
            codec=codec,
        )
        for turn in range(fragments):
            change(model, site) if turn == 0 else None
            outer.step(tokens=weights[site] if turn == 0 else 0)
        found[site] = {name: value.clone() for name, value in outer.anchor().items()}, model

    together(2, run)
    start, locals_ = Awkward(), [Awkward(), Awkward()]
    for site, model in enumerate(locals_):
        change(model, site)
    before = dict(start.named_parameters())
    exact = {"fp32": 1e-6, "bf16": 3e-3, "int8": 4e-3, "int4": 6e-2}[codec]
    for name, parameter in before.items():
        if not parameter.requires_grad:
            assert name not in found[0][0]
            continue
        assert torch.equal(found[0][0][name], found[1][0][name]), name
        moved = [dict(model.named_parameters())[name].detach().float() for model in locals_]
        mean = (3 * moved[0] + 5 * moved[1]) / 8
        assert torch.allclose(found[0][0][name], mean, atol=exact), name
        local = dict(found[0][1].named_parameters())[name]
        assert torch.equal(local.detach(), found[0][0][name].to(local.dtype)), name
    assert "layers.1.tied" not in found[0][0]
