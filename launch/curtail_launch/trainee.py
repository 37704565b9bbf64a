"""The model of one rank as it is trained: compiled or not, at one rank or at one of several."""

from dataclasses import dataclass

import torch
from curtail_kernels.dispatch import Means
from torch.nn.parallel import DistributedDataParallel

from curtail_launch.settings import Recipe
from nanochat.model import GPT, build_model
from nanochat.optim import MuonAdamW
from nanochat.ranks import Ranks
from nanochat.recipes import build_optimizer


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """One set of parameters, in three wraps."""

    model: GPT
    """The model itself."""
    forward: torch.nn.Module
    """What gives its losses: the model, compiled at its first use, or as it is."""
    trained: torch.nn.Module
    """What a step calls: that, or DistributedDataParallel around it."""
    optimizer: MuonAdamW
    """Averages the gradients over the ranks, unless `trained` does."""


def build_trainee(recipe: Recipe, ranks: Ranks, *, seed: int) -> Trainee:
    """Build the model on the rank's device; at several ranks all call this together."""
    options, several = recipe.options, ranks.count > 1
    sharded = several and options.sharded
    means = Means(attention=options.attention, fused=options.fused)
    model = build_model(recipe.model, seed=seed, means=means).to(ranks.device)
    forward: torch.nn.Module = model
    if compiles(recipe, ranks.device):
        # All batches of a run have one shape, those of evaluations too.
        forward = torch.compile(model, dynamic=False)  # pyright: ignore[reportAssignmentType]
    trained = forward
    if several and not sharded:
        trained = DistributedDataParallel(forward, process_group=ranks.group, broadcast_buffers=False)
    return Trainee(
        model=model,
        forward=forward,
        trained=trained,
        optimizer=build_optimizer(
            model, recipe.optimizer, sharded=sharded, fused=options.fused, process_group=ranks.group
        ),
    )


def compiles(recipe: Recipe, device: torch.device) -> bool:
    """Whether the model is compiled on `device`."""
    wanted = recipe.options.compile
    return device.type == "cuda" if wanted is None else wanted
