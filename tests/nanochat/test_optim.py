import copy
import subprocess
import sys

import pytest
import torch

from nanochat.model import GPTConfig, build_model
from nanochat.optim import MuonAdamW
from nanochat.optim.muon import equalize_rows, orthogonalize, reduce_variance, restore_norm
from nanochat.recipes import OptimConfig, OptimConfig202607, build_optimizer

SMALL = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=2, vocab_size=64, sequence_length=8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def muon(parameters, **changes):
    group = {
        "kind": "muon", "params": parameters, "lr": 0.02, "initial_lr": 0.02, "momentum": 0.9, "beta2": 0.95,
        "weight_decay": 0.1, "initial_weight_decay": 0.1,
    }  # fmt: skip
    return MuonAdamW([{**group, **changes}])


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48), (7, 33), (1, 5)])
def test_singular_values_of_an_update_come_near_one(shape):
    g = torch.randn(3, *shape, generator=generator())
    values = torch.linalg.svdvals(orthogonalize(g))
    assert values.min().item() > 0.7 and values.max().item() < 1.3


@pytest.mark.parametrize("shape", [(24, 24), (40, 12), (12, 40)])
def test_an_update_keeps_the_singular_vectors(shape):
    g = torch.randn(1, *shape, generator=generator(1))
    u, _, vt = torch.linalg.svd(g[0], full_matrices=False)
    polar, got = (u @ vt).flatten(), orthogonalize(g)[0].flatten()
    assert torch.nn.functional.cosine_similarity(polar, got, dim=0).item() > 0.98


def test_orthogonalizing_nothing_gives_nothing():
    assert torch.equal(orthogonalize(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


@pytest.mark.parametrize(("shape", "moment"), [((6, 4), (6, 1)), ((4, 6), (1, 6)), ((5, 5), (5, 1))])
def test_variance_reduction_evens_out_rows_and_keeps_the_norm(shape, moment):
    u = torch.randn(2, *shape, generator=generator(2)) * torch.logspace(-2, 1, shape[0])[:, None]
    new, second = reduce_variance(u, torch.zeros(2, *moment), 0.95)
    assert second.shape == (2, *moment)
    assert torch.allclose(new.norm(dim=(1, 2)), u.norm(dim=(1, 2)), rtol=1e-4)
    side = -1 if moment[1] == 1 else -2
    sizes = new.square().mean(dim=side).sqrt()
    assert torch.allclose(sizes, sizes[:, :1].expand_as(sizes), rtol=1e-3)


def plain_muon_step(weight, grad, buffer, moment, *, lr, momentum, beta2, decay):
    """The published formulas, one matrix, fp64, elements by loops where that is clearer."""
    rows, columns = weight.shape
    buffer = momentum * buffer + (1 - momentum) * grad
    g = (1 - momentum) * grad + momentum * buffer
    x = g / (1.02 * g.norm() + 1e-6)
    table = [
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ]
    for a, b, c in table:
        x = a * x + b * (x @ x.T @ x) + c * (x @ x.T @ x @ x.T @ x)
    dim = 1 if rows >= columns else 0
    mean = (x * x).mean(dim=dim, keepdim=True)
    moment = beta2 * moment + (1 - beta2) * mean
    scaled = x / moment.sqrt()
    scaled = scaled * (x.norm() / scaled.norm())
    rate = lr * max(1, rows / columns) ** 0.5
    new = weight.clone()
    for i in range(rows):
        for j in range(columns):
            if scaled[i, j] * weight[i, j] >= 0:
                new[i, j] -= rate * decay * weight[i, j]
            new[i, j] -= rate * scaled[i, j]
    return new, buffer, moment


@pytest.mark.parametrize("shape", [(5, 5), (9, 4), (4, 9)])
def test_muon_matches_a_plain_reference_over_several_steps(shape):
    weights = [torch.randn(shape, generator=generator(i)).requires_grad_() for i in range(2)]
    optimizer = muon(weights)
    references = []
    for w in weights:
        moment = torch.zeros((shape[0], 1) if shape[0] >= shape[1] else (1, shape[1])).double()
        references.append((w.detach().double(), torch.zeros(shape).double(), moment))
    for step in range(4):
        for i, w in enumerate(weights):
            w.grad = torch.randn(shape, generator=generator(10 * step + i))
            weight, buffer, moment = references[i]
            references[i] = plain_muon_step(
                weight, w.grad.double(), buffer, moment, lr=0.02, momentum=0.9, beta2=0.95, decay=0.1
            )
        optimizer.step()
    for w, (expected, _, _) in zip(weights, references, strict=True):
        assert torch.allclose(w.detach().double(), expected, atol=1e-5)


def test_a_gaussian_updates_singular_values_are_near_one_before_variance_reduction():
    """m x 4m and square, as variant 2026-01 takes them and as 2026-07 does."""
    wide, square = (torch.randn(2, 256, n, generator=generator(5)) for n in (1_024, 256))
    for update in (orthogonalize, lambda g: restore_norm(orthogonalize(equalize_rows(g), 1.01))):
        values = torch.linalg.svdvals(update(wide))
        assert 0.7 <= values.min().item() <= values.max().item() <= 1.3
        values = torch.linalg.svdvals(update(square))
        assert ((values >= 0.7) & (values <= 1.3)).double().mean().item() >= 0.97
        assert values.max().item() <= 1.2


def test_rows_are_made_equal_and_the_norm_is_kept():
    g = torch.randn(3, 6, 10, generator=generator(1)) * torch.logspace(-3, 2, 6)[:, None]
    equal = equalize_rows(g)
    rows = equal.norm(dim=-1)
    assert torch.allclose(rows, rows[:, :1].expand_as(rows), rtol=1e-4)
    assert torch.allclose(equal.norm(dim=(1, 2)), g.norm(dim=(1, 2)), rtol=1e-4)
    assert torch.allclose(equal / rows[..., None], g / g.norm(dim=-1, keepdim=True), atol=1e-5)
    assert torch.equal(equalize_rows(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))


def test_an_updates_norm_is_that_of_an_orthogonal_matrix():
    u = restore_norm(torch.randn(2, 6, 10, generator=generator(1)))
    assert torch.allclose(u.norm(dim=(1, 2)), torch.full((2,), 6**0.5))
    assert torch.equal(restore_norm(torch.zeros(1, 2, 3)), torch.zeros(1, 2, 3))


def test_a_balanced_groups_step_is_made_of_these_parts():
    weight = torch.randn(5, 9, generator=generator(3)).requires_grad_()
    before = weight.detach().clone()
    weight.grad = torch.randn(5, 9, generator=generator(4)) * torch.logspace(-2, 0, 5)[:, None]
    g = weight.grad[None] * (1 - 0.9) * (1 + 0.9)  # Nesterov's first direction, from an empty buffer
    u = restore_norm(orthogonalize(equalize_rows(g), 1.01))
    u, _ = reduce_variance(u, torch.zeros(1, 1, 9), 0.9)
    muon([weight], balanced=True, norm_margin=1.01, beta2=0.9, weight_decay=0.0).step()
    assert torch.allclose(weight.detach(), before - 0.02 * u[0], atol=1e-6)


def test_decay_pulls_only_where_the_update_does():
    weight = torch.full((2, 2), 3.0).requires_grad_()
    weight.grad = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    without = torch.full((2, 2), 3.0).requires_grad_()
    without.grad = weight.grad.clone()
    muon([weight], weight_decay=0.5).step()
    muon([without], weight_decay=0.0).step()
    pulled = (without - weight).detach()
    assert pulled[0, 0] > 0.01 and pulled[1, 1] == 0


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adamw_is_torchs(decay):
    ours = torch.randn(6, generator=generator()).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    group = {
        "kind": "adamw",
        "params": [ours],
        "lr": 0.1,
        "initial_lr": 0.1,
        "betas": (0.8, 0.95),
        "eps": 1e-10,
        "weight_decay": decay,
    }
    optimizer = MuonAdamW([group])
    reference = torch.optim.AdamW([theirs], lr=0.1, betas=(0.8, 0.95), eps=1e-10, weight_decay=decay)
    for step in range(5):
        ours.grad = torch.randn(6, generator=generator(step))
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_new_variant_learns():
    """Smear and gates start at nothing: each parameter has to move in a few steps."""
    shape = {"n_layer": 4, "n_embd": 48, "n_head": 3, "n_kv_head": 3, "vocab_size": 64, "sequence_length": 8}
    model = build_model(GPTConfig(**shape, variant="2026-07"))
    optimizer = build_optimizer(model, OptimConfig202607(batch_tokens=2**15))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs = torch.randint(0, 64, (4, 9), generator=generator(1))
    losses = []
    for _ in range(20):
        loss = model(inputs[:, :-1], inputs[:, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    still = [name for name, p in model.named_parameters() if torch.equal(p.detach(), start[name])]
    assert not still


def train_a_step(model, optimizer, seed):
    inputs = torch.randint(0, 64, (2, 8), generator=generator(seed))
    model(inputs, inputs.roll(-1, 1)).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_loaded_state_goes_on_with_the_same_bytes():
    model = build_model(SMALL)
    optimizer = build_optimizer(model, OptimConfig())
    for step in range(3):
        train_a_step(model, optimizer, step)
    twin = build_model(SMALL, seed=9)
    twin.load_state_dict(model.state_dict())
    other = build_optimizer(twin, OptimConfig())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        train_a_step(model, optimizer, step)
        train_a_step(twin, other, step)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_step_does_not_import_torchs_compiler():
    code = (
        "import sys, torch\n"
        "from nanochat.optim import MuonAdamW\n"
        "p = torch.ones(3, 3, requires_grad=True)\n"
        "group = {'kind': 'adamw', 'params': [p], 'lr': .1, 'betas': (.8, .95), 'eps': 1e-8}\n"
        "optimizer = MuonAdamW([group])\n"
        "p.sum().backward()\n"
        "optimizer.step()\n"
        "optimizer.zero_grad()\n"
        "assert p.grad is None and p[0, 0] != 1\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0


def test_a_parameter_without_gradient_stays():
    weights = [torch.ones(3, 3).requires_grad_() for _ in range(2)]
    weights[0].grad = torch.eye(3)
    muon(weights).step()
    assert torch.equal(weights[1].detach(), torch.ones(3, 3))
    assert not torch.equal(weights[0].detach(), torch.ones(3, 3))
