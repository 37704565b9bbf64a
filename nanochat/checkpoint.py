"""A checkpoint of the vanilla loop: model, optimizer and place in the data, in one safetensors file."""

import fcntl
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nanochat.files import replacing
from nanochat.optim import MuonAdamW, Whole
from nanochat.verb import warn

SCHEMA = 1
LOCK = ".run.lock"


def checkpoint_path(root: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return root / "checkpoints" / f"step-{step:07d}.safetensors"


def newest(root: Path) -> Path | None:
    """The checkpoint with the most steps, or None."""
    return max(root.glob("checkpoints/step-*.safetensors"), default=None)


def check_none(root: Path) -> None:
    """Raise ValueError if a run has left checkpoints in `root`.

    Of two runs in one place the newest checkpoint would be that of whichever had more steps.
    """
    path = newest(root)
    if path is not None:
        raise ValueError(
            f"{root} has a run's checkpoints, up to {path.name}; it must have none for a run to begin there: "
            "go on with that one by --resume, or give another --root"
        )


@contextmanager
def alone(root: Path, *, new: bool) -> Iterator[None]:
    """Hold a root for a run, a new one or one that is gone on with; a process that dies lets go of it.

    Of two runs at once in one place each would write over the checkpoints and the log of the other.

    Raises:
        ValueError: Another run is under way there, or a new one does not begin there.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{root} has a run under way; there must be one at a time: wait for it or end it, or give "
                "another --root"
            ) from error
        except OSError as error:
            warn(f"{root / LOCK} cannot be locked ({error.strerror}): have no other run there meanwhile")
        if new:
            check_none(root)
        yield


def save(path: Path, model: nn.Module, whole: Whole, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, atomically; the same state gives the same bytes.

    Args:
        path: What it held is replaced.
        model: Its parameters and buffers are kept.
        whole: The state of its optimizer; empty for a model that is not to be trained on.
        facts: JSON values.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in whole.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"facts": json.dumps({"schema": SCHEMA, **facts}, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(held, temporary, metadata=metadata)


def facts_of(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint. Raises ValueError if it is missing, torn or of another schema."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(
            f"checkpoint {path} is unreadable ({error}); it must be whole: use an earlier one"
        ) from error
    schema = facts.get("schema") if isinstance(facts, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"checkpoint {path} has schema {schema}; it must be {SCHEMA}: use another")
    return facts


def restore(path: Path, model: nn.Module, optimizer: MuonAdamW | None = None) -> None:
    """Copy a checkpoint's tensors into a model, and into an optimizer over its parameters if one is given.

    Raises:
        ValueError: The checkpoint is of another model.
    """
    parameters = dict(model.named_parameters())
    weights: dict[str, Tensor] = {}
    whole: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
    with safe_open(path, framework="pt") as file:
        for full_name in file.keys():  # noqa: SIM118 - not a mapping
            kind, _, name = full_name.partition(".")
            if kind == "model":
                weights[name] = file.get_tensor(full_name)
            elif optimizer is not None:
                key, _, name = name.partition(".")
                whole[parameters[name]][key] = file.get_tensor(full_name)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"checkpoint {path} is of another model ({error}): give the same shape") from error
    if optimizer is not None:
        optimizer.take_whole(whole)
