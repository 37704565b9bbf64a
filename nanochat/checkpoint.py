"""A checkpoint of the vanilla loop: model, optimizer and place in the data, in one safetensors file.

Its metadata are one entry, since safetensors writes several in any order: `facts`, the JSON of

    {"schema": 2, "facts": {...}, "tensors": {NAME: hex}, "sha256": hex}

where each tensor has the SHA-256 that `add_tensor` gives, and `sha256` is that of the three before it as JSON
with sorted keys.
"""

import fcntl
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nanochat.files import remove_left_over, replacing
from nanochat.optim import MuonAdamW, Whole
from nanochat.verb import warn

SCHEMA = 2
LOCK = ".run.lock"
CHECKPOINTS = "checkpoints"


def checkpoint_path(root: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return root / CHECKPOINTS / f"step-{step:07d}.safetensors"


def newest(root: Path) -> Path | None:
    """The checkpoint with the most steps, or None."""
    return max(root.glob(f"{CHECKPOINTS}/step-*.safetensors"), default=None)


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

    Of two runs at once in one place each would write over the checkpoints and the log of the other. What a
    run that was killed as it saved left of its checkpoint is removed.

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
        else:
            remove_left_over(root / CHECKPOINTS)
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
    told = {
        "schema": SCHEMA,
        "facts": dict(facts),
        "tensors": {name: _sha256(name, tensor) for name, tensor in held.items()},
    }
    text = json.dumps({**told, "sha256": _sha256_of_told(told)}, sort_keys=True)
    with replacing(path) as temporary:
        save_file(held, temporary, metadata={"facts": text})


def facts_of(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint. Raises ValueError if it is missing, torn, damaged or of another schema."""
    return _read(path)[0]


def add_tensor(update: Callable[[bytes | memoryview], None], name: str, tensor: Tensor) -> None:
    """Have a hash, whose `update` this is, depend on a tensor of the CPU and its name."""
    update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


def restore(path: Path, model: nn.Module, optimizer: MuonAdamW | None = None) -> None:
    """Copy a checkpoint's tensors into a model, and into an optimizer over its parameters if one is given.

    Raises:
        ValueError: The checkpoint is damaged, or of another model; nothing was copied from it.
    """
    parameters = dict(model.named_parameters())
    weights: dict[str, Tensor] = {}
    whole: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
    for full_name, tensor in _tensors(path, only_model=optimizer is None):
        kind, _, name = full_name.partition(".")
        if kind == "model":
            weights[name] = tensor
        else:
            key, _, name = name.partition(".")
            whole[parameters[name]][key] = tensor
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"checkpoint {path} is of another model ({error}): give the same shape") from error
    if optimizer is not None:
        optimizer.take_whole(whole)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turn what reading a checkpoint meets into a ValueError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"checkpoint {path} is unreadable ({reason}); it must be whole: use an earlier one, "
            "by removing this one where the newest is taken"
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The facts of a checkpoint, and the SHA-256 of each of its tensors."""
    with _whole(path), safe_open(path, framework="pt") as file:
        told = json.loads((file.metadata() or {}).get("facts", "{}"))
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"checkpoint {path} has schema {schema}; it must be {SCHEMA}: use another")
    with _whole(path):
        if told.pop("sha256") != _sha256_of_told(told):
            raise ValueError("its metadata are not what was written")
        return told["facts"], told["tensors"]


def _tensors(path: Path, *, only_model: bool) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, each compared with its hash."""
    _, expected = _read(path)
    with _whole(path), safe_open(path, framework="pt") as file:
        for name, sha256 in expected.items():
            if only_model and not name.startswith("model."):
                continue
            tensor = file.get_tensor(name)
            if _sha256(name, tensor) != sha256:
                raise ValueError(f"{name} is not what was written")
            yield name, tensor


def _sha256(name: str, tensor: Tensor) -> str:
    digest = hashlib.sha256()
    add_tensor(digest.update, name, tensor)
    return digest.hexdigest()


def _sha256_of_told(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
