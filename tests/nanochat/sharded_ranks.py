"""An optimizer sharded over ranks, beside one rank with the mean of their gradients; prints a JSON line.

Argument: the variant.
"""

import copy
import hashlib
import json
import sys

import torch
import torch.distributed as dist

from nanochat.model import GPTConfig, build_model
from nanochat.optim import MuonAdamW
from nanochat.recipes import OPTIM_CONFIGS, build_optimizer

STEPS = 20
RATES = {"weight_decay": 1e-5, "matrix_lr": 0.02}
"""The decay of 2026-07 grows as the model shrinks; at this size it would be all there is."""


def model_of(variant):
    """With 3 layers, 12 matrices of one shape and lambdas of 3 numbers: at 4 ranks they do not go round."""
    pattern = {"window_pattern": "SL"} if variant == "2026-07" else {}
    shape = {"n_layer": 3, "n_embd": 40, "n_head": 2, "n_kv_head": 2, "sequence_length": 16}
    return build_model(GPTConfig(variant=variant, vocab_size=64, **shape, **pattern), seed=2)


def gradient(shape, step, number, rank):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(1_000_000 * rank + 1_000 * step + number)
    )


def train(model, optimizer, first, last, of_ranks):
    """Steps along the mean of the gradients of `of_ranks`."""
    for step in range(first, last):
        for number, p in enumerate(model.parameters()):
            p.grad = torch.stack([gradient(p.shape, step, number, rank) for rank in of_ranks]).mean(0)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * (1 - step / (2 * STEPS))
        optimizer.step()
        optimizer.zero_grad()


def most_apart(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


def numbers_in(optimizer):
    return sum(value.numel() for state in optimizer.state.values() for value in state.values())


def digest(model):
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


def refused(optimizer, model):
    """What is said where another set of parameters has gradients than before."""
    first = next(model.parameters())
    first.grad = torch.zeros_like(first)
    try:
        optimizer.step()
    except ValueError as error:
        return str(error)
    return None


def main(variant):
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    config = OPTIM_CONFIGS[variant](**RATES)
    model = model_of(variant)
    sharded = build_optimizer(model, config, sharded=True)
    before = dict(sharded.whole_state())
    train(model, sharded, 0, STEPS // 2, [rank])
    gathered = sharded.whole_state()
    middle = copy.deepcopy(model.state_dict())

    alone = model_of(variant)
    single = build_optimizer(alone, config)
    train(alone, single, 0, STEPS // 2, range(ranks))
    names = {p: name for name, p in model.named_parameters()}
    whole = {names[p]: state for p, state in gathered.items()}
    expected = {name: single.state[p] for name, p in alone.named_parameters()}
    apart_in_state = [
        (whole[name][key] - value).abs().max().item() / max(value.abs().max().item(), 1e-30)
        for name, state in (expected.items() if rank == 0 else ())
        for key, value in state.items()
    ]
    same_keys = rank > 0 or {n: set(s) for n, s in whole.items()} == {n: set(s) for n, s in expected.items()}

    train(model, sharded, STEPS // 2, STEPS, [rank])
    train(alone, single, STEPS // 2, STEPS, range(ranks))

    # What was gathered in the middle is handed out again, to a fresh optimizer, and to one rank alone.
    told = [whole if rank == 0 else None]
    dist.broadcast_object_list(told)
    resumed, again = resumed_from(told[0], middle, variant, config, sharded=True)
    train(resumed, again, STEPS // 2, STEPS, [rank])
    lone, lone_optimizer = resumed_from(told[0], middle, variant, config, sharded=False)
    train(lone, lone_optimizer, STEPS // 2, STEPS, range(ranks))

    found = {
        "rank": rank,
        "before": len(before),
        "apart": most_apart(model.parameters(), alone.parameters()),
        "moved": most_apart(model.parameters(), model_of(variant).parameters()),
        "digest": digest(model),
        "resumed": digest(resumed),
        "lone_apart": most_apart(lone.parameters(), alone.parameters()),
        "state_share": numbers_in(sharded) / numbers_in(single),
        "whole_is_elsewhere_empty": rank == 0 or whole == {},
        "state_apart": max(apart_in_state, default=0.0),
        "same_keys": same_keys,
        "single_is_single": type(single) is MuonAdamW,
        "refused": refused(sharded, model),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    dist.destroy_process_group()


def resumed_from(states, weights, variant, config, *, sharded):
    model = model_of(variant)
    model.load_state_dict(weights)
    optimizer = build_optimizer(model, config, sharded=sharded)
    optimizer.take_whole({p: copy.deepcopy(states[name]) for name, p in model.named_parameters()})
    return model, optimizer


if __name__ == "__main__":
    main(sys.argv[1])
