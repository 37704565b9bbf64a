"""How each variant is trained: its optimizer's groups and its schedule."""

from torch.distributed import ProcessGroup

from nanochat.model import GPT
from nanochat.optim import MuonAdamW, ShardedMuonAdamW
from nanochat.recipes.v2026_01 import OptimConfig
from nanochat.recipes.v2026_07 import OptimConfig202607, Schedule202607
from nanochat.schedule import Schedule
from nanochat.settings import require

__all__ = [
    "OPTIM_CONFIGS",
    "SCHEDULES",
    "OptimConfig",
    "OptimConfig202607",
    "Schedule202607",
    "build_optimizer",
]

OPTIM_CONFIGS: dict[str, type[OptimConfig] | type[OptimConfig202607]] = {
    one.variant: one for one in (OptimConfig, OptimConfig202607)
}
"""The optimizer's settings, by variant."""
SCHEDULES: dict[str, type[Schedule]] = {"2026-01": Schedule, "2026-07": Schedule202607}
"""The schedule, by variant."""


def build_optimizer(
    model: GPT,
    config: OptimConfig | OptimConfig202607,
    *,
    sharded: bool = False,
    fused: bool = False,
    process_group: ProcessGroup | None = None,
) -> MuonAdamW:
    """One optimizer over all parameters of `model`, each in one group.

    Args:
        model: Of the same variant.
        config: Its recipe.
        sharded: Divide update and state over the ranks of the process group.
        fused: Multiply Muon's symmetric matrices by the fused kernels.
        process_group: None: all ranks, which are there if `sharded`.

    Raises:
        ValueError: The settings are those of another variant than the model's.
    """
    require(config.variant == model.config.variant, "optim's variant", config.variant, model.config.variant)
    groups = config.groups(model)
    grouped = [id(p) for group in groups for p in group["params"]]
    expected = [id(p) for p in model.parameters()]
    assert sorted(grouped) == sorted(expected), "a parameter is in no group, or in two"
    for group in groups:
        if fused and group["kind"] == "muon":
            group["fused"] = True
    if sharded:
        return ShardedMuonAdamW(groups, process_group=process_group)
    return MuonAdamW(groups)
