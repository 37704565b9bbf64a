"""A trained model with its tokenizer, from where a run left them.

A run of several sites leaves `config.yaml`, `tokenizer/` and `snapshots/<version>-<hash8>/` with a manifest
that names each file and its SHA-256. The vanilla loop leaves `tokenizer/` and `checkpoints/`.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load as load_tensors

from nanochat import checkpoint
from nanochat.model import GPT, GPTConfig, build_model
from nanochat.settings import require
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)
_SNAPSHOT = re.compile(r"(\d{6,})-[0-9a-f]{8}")
_MODEL, _MANIFEST = "model.safetensors", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What one needs to go on with a model."""

    model: GPT
    tokenizer: Tokenizer
    path: Path
    """The snapshot or checkpoint that the weights are of."""


def load_newest(directory: Path) -> Saved:
    """Read the newest whole snapshot or checkpoint of a run, onto the CPU.

    A snapshot that is torn, or whose bytes are not those that its manifest names, is passed over with a
    warning.

    Raises:
        ValueError: There is none, or model and tokenizer do not belong together; one line.
    """
    require(directory.is_dir(), "the run directory", str(directory), "a directory that a run wrote")
    curtailed = (directory / "snapshots").is_dir()
    saved = _newest_snapshot(directory) if curtailed else _newest_checkpoint(directory)
    if saved is None:
        raise ValueError(
            f"{directory} holds no whole snapshot and no checkpoint; it must hold one: "
            "train first, or copy a snapshot from state.url there"
        )
    words, rows = saved.tokenizer.vocab_size, saved.model.config.vocab_size
    require(words == rows, f"the vocabulary of {tokenizer_path(directory)}", words, f"{rows}, as the model's")
    saved.model.eval()
    return saved


def weights_hash(model: GPT) -> str:
    """The SHA-256 of a model's weights on the CPU: two sources of the same name may hold different ones."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        checkpoint.add_tensor(digest.update, name, tensor)
    return digest.hexdigest()


def _newest_snapshot(directory: Path) -> Saved | None:
    for place in _places(directory / "snapshots"):
        try:
            weights = load_tensors(_verified(place))
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("snapshot %s is torn or was changed (%s); looking for an older one", place, error)
            continue
        model = build_model(GPTConfig.from_mapping(_model_section(directory / "config.yaml")))
        _fill(model, weights, place)
        return Saved(model=model, tokenizer=Tokenizer.load(tokenizer_path(directory)), path=place)
    return None


def _places(directory: Path) -> Iterator[Path]:
    """Snapshots, newest first."""
    found = [place for place in directory.iterdir() if _SNAPSHOT.fullmatch(place.name)]
    yield from sorted(found, key=lambda place: int(place.name.split("-")[0]), reverse=True)


def _verified(place: Path) -> bytes:
    manifest: dict[str, Any] = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
    stored, expected = manifest["files"][_MODEL]
    contents = (place / stored).read_bytes()
    if hashlib.sha256(contents).hexdigest() != expected:
        raise ValueError(f"{stored} does not have its hash")
    return contents


def _model_section(path: Path) -> dict[str, Any]:
    try:
        section = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} does not say what the model is ({error}); it must be the run's own: copy it there"
        ) from error
    require(isinstance(section, dict), f"model in {path}", section, "a mapping")
    return section


def _fill(model: GPT, weights: dict[str, Any], place: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"snapshot {place} is of another model than config.yaml describes ({error}): use the run's own"
        ) from error


def _newest_checkpoint(directory: Path) -> Saved | None:
    path = checkpoint.newest(directory)
    return None if path is None else load_checkpoint(directory, path)


def load_checkpoint(directory: Path, path: Path) -> Saved:
    """Read a checkpoint of a vanilla root, with the root's tokenizer, onto the CPU.

    Raises:
        ValueError: It is missing or torn, or the root's tokenizer is another.
    """
    facts = checkpoint.facts_of(path)
    told = isinstance(facts.get("model"), dict) and isinstance(facts.get("tokenizer"), str)
    require(told, f"what checkpoint {path} says", sorted(facts), "model and tokenizer: use one of a run")
    where = tokenizer_path(directory)
    tokenizer = Tokenizer.load(where)
    expected = f"{facts['tokenizer']}, of the tokenizer that {path.name} was trained with: put that one there"
    require(tokenizer.hash == facts["tokenizer"], f"the hash of {where}", tokenizer.hash, expected)
    model = build_model(GPTConfig.from_mapping(facts["model"]))
    checkpoint.restore(path, model)
    model.eval()
    return Saved(model=model, tokenizer=tokenizer, path=path)
