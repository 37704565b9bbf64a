"""What must be the same at every site of a run: by name, in plain text, or as a hash where that is long."""

import json
from collections.abc import Mapping

from curtail_dist.config import RunConfig
from curtail_dist.data.order import order_name
from curtail_dist.membership.records import SCHEMA
from curtail_dist.outer.fingerprint import fingerprint
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.state.snapshot import like
from curtail_dist.state.version import hash_of


def identity(config: RunConfig, outer: DiLoCo, *, data: str, program: Mapping[str, str]) -> dict[str, str]:
    """Return all that must agree, by name.

    Args:
        config: The run file; its seed, passes, outer section and steps of a round count: rounds are planned
            from them at each site for itself.
        outer: Gives the model's parameters: names, types, shapes; of those that are frozen, which nobody gets
            from the run, the values too, as a hash of their own where there are any.
        data: Hash of the data manifest.
        program: What the rank program adds: its tokenizer, its model's configuration.
    """
    frozen = outer.frozen
    return {
        "data": data,
        "model": like(outer.state.tensors),
        **({"frozen": hash_of(frozen)} if frozen else {}),
        "numerics": fingerprint(),
        **of_run_file(config),
        **program,
    }


def of_run_file(config: RunConfig) -> dict[str, str]:
    """Return those that the run file alone says."""
    outer = config.to_mapping()["outer"]
    return {
        "protocol": str(SCHEMA),
        **{f"outer.{key}": json.dumps(value, sort_keys=True) for key, value in outer.items()},
        "seed": str(config.run.seed),
        "passes": str(config.data.passes),
        "order": order_name(),
        "round.steps": str(config.round.steps),
    }
