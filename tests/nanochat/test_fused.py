"""A model by the fused kernels' operations is the same model; a CPU has their plain counterparts."""

from dataclasses import replace

import pytest
import torch
from curtail_kernels.dispatch import Means

from nanochat.model import GPTConfig, build_model
from nanochat.recipes import OPTIM_CONFIGS, build_optimizer

FUSED = Means(fused=True)
CONFIG = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=1, vocab_size=70, sequence_length=8)


def models(variant):
    config = replace(CONFIG, variant=variant)
    both = [build_model(config, seed=3, means=means) for means in (Means(), FUSED)]
    with torch.no_grad():
        for model in both:  # matrices that start at zero would let no error through
            generator = torch.Generator().manual_seed(4)
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return both


def tokens(seed):
    return torch.randint(0, 70, (3, 8), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", OPTIM_CONFIGS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_and_gradients_are_those_of_the_plain_model(variant, reduction):
    inputs, targets = tokens(1), tokens(2)
    targets[1, 3:] = -1
    losses = []
    for model in models(variant):
        loss = model(inputs, targets, reduction)
        (loss * torch.arange(1.0, loss.numel() + 1)).sum().backward()
        losses.append((loss, [parameter.grad for parameter in model.parameters()]))
    (plain, plain_grads), (fused, fused_grads) = losses
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)
    # A gradient whose terms cancel is no more exact than they are.
    largest = max(grad.abs().max().item() for grad in plain_grads if grad is not None)
    for one, other in zip(fused_grads, plain_grads, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * largest)


@pytest.mark.parametrize("variant", OPTIM_CONFIGS)
def test_an_optimizer_with_fused_products_takes_the_same_step(variant):
    plain, fused = models(variant)[0], models(variant)[0]
    for model, is_fused in ((plain, False), (fused, True)):
        optimizer = build_optimizer(model, OPTIM_CONFIGS[variant](), fused=is_fused)
        model(tokens(1), tokens(2)).backward()
        optimizer.step()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", OPTIM_CONFIGS)
def test_a_fused_model_is_one_graph(variant):
    model = models(variant)[1]
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="aot_eager")
    loss = compiled(tokens(1), tokens(2))
    torch.testing.assert_close(loss, model(tokens(1), tokens(2)))
