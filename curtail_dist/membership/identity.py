"""The run's identity: what must be the same at every site, or the model would be another one."""

import hashlib
import json
from collections.abc import Mapping

from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.errors import IdentityMismatch
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import SCHEMA, decode, encode


def identity(config: RunConfig, *, data: str, model: str, program: Mapping[str, str]) -> dict[str, str]:
    """Return named hashes of all that must agree.

    Args:
        config: The run file; its seed, passes and outer section count.
        data: Hash of the data manifest.
        model: Hash of the parameters' names, types and shapes.
        program: What the rank program adds, its tokenizer say.
    """
    outer = json.dumps(config.to_mapping()["outer"], sort_keys=True)
    return {
        "protocol": str(SCHEMA),
        "data": data,
        "model": model,
        "outer": hashlib.sha256(outer.encode()).hexdigest(),
        "seed": str(config.run.seed),
        "passes": str(config.data.passes),
        **program,
    }


def agree(store: CoordinationStore, keys: Keys, mine: Mapping[str, str]) -> None:
    """Write the identity if this site comes first, else compare. Raises IdentityMismatch."""
    result = store.compare_and_swap(keys.identity, encode(dict(mine)), revision=0)
    entry = None if result.succeeded else result.current[keys.identity]
    theirs = mine if entry is None else decode(entry.value)
    odd = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
    if odd:
        shown = "; ".join(
            f"{key} is {mine.get(key)!s:.12}, the run's is {theirs.get(key)!s:.12}" for key in odd
        )
        raise IdentityMismatch(
            f"this site would train something else than the run: {shown}; use the run's own"
        )
