"""Checkpoints of the original nanochat and of the published prototype: `.pt` files, read as data alone."""

import json
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.model import GPT, GPTConfig, build_model
from nanochat.settings import require

HEAD_DIM = 128
"""Of all models of the original; used where no meta file says how many heads there are."""
SEQUENCE_LENGTH = 2_048
_OF_WHAT_IS_NO_STATE_DICT = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, struct.error,
    pickle.UnpicklingError,
)  # fmt: skip
"""What reading bytes as a pickle may end with."""
_WRAPPERS = ("model", "model_state_dict", "state_dict", "module")
_PREFIXES = ("_orig_mod.", "module.")
_NAMES = (
    (r"transformer\.wte\.weight", "embedding.weight"),
    (r"transformer\.h\.(\d+)\.attn\.c_([qkv])\.weight", r"blocks.\1.attention.\2.weight"),
    (r"transformer\.h\.(\d+)\.attn\.c_proj\.weight", r"blocks.\1.attention.out.weight"),
    (r"transformer\.h\.(\d+)\.attn\.ve_gate\.weight", r"blocks.\1.value_gate.weight"),
    (r"transformer\.h\.(\d+)\.mlp\.c_fc\.weight", r"blocks.\1.mlp.up.weight"),
    (r"transformer\.h\.(\d+)\.mlp\.c_proj\.weight", r"blocks.\1.mlp.down.weight"),
    (r"lm_head\.weight", "head.weight"),
    (r"resid_lambdas", "residual_lambdas"),
    (r"x0_lambdas", "x0_lambdas"),
    (r"value_embeds\.(\d+)\.weight", r"value_embeddings.\1.weight"),
    (r"smear_gate\.weight", "smear.gate.weight"),
    (r"smear_lambda", "smear.strength"),
    (r"backout_lambda", "back_out"),
)
_META_KEYS = {
    "sequence_len": "sequence_length",
    "vocab_size": "vocab_size",
    "n_layer": "n_layer",
    "n_head": "n_head",
    "n_kv_head": "n_kv_head",
    "n_embd": "n_embd",
    "window_pattern": "window_pattern",
}


def read_original(path: Path, meta: Path | None = None) -> GPT:
    """Read a checkpoint as a model, in fp32 on the CPU.

    The variant follows from the names of its tensors. One from before the lambdas is variant 2026-01 with all
    of them as they do nothing.

    Args:
        path: Nothing in it is executed.
        meta: Its `meta_*.json`; None: the one beside it, or none: then heads have 128 numbers, windows 2,048
            tokens, and every row of the tables is a token.

    Raises:
        ValueError: A file is unreadable, or a tensor is missing, unknown or of another shape; one line.
    """
    weights = _renamed(_tensors(path), path)
    config = GPTConfig.from_mapping(_config(weights, meta or _beside(path)))
    with torch.device("meta"):
        expected = {name: p.shape for name, p in build_model(config).named_parameters()}
    if "residual_lambdas" not in weights and config.variant == "2026-01":
        weights["residual_lambdas"] = torch.ones(config.n_layer)
        weights["x0_lambdas"] = torch.zeros(config.n_layer)
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    require(
        not missing, f"what {path} lacks of variant {config.variant}", missing, "nothing: it is another model"
    )
    require(
        not unknown,
        f"what {path} has besides variant {config.variant}",
        unknown,
        "nothing: it is another model",
    )
    for name, shape in expected.items():
        found = tuple(weights[name].shape)
        require(found == tuple(shape), f"{name} of {path}", found, f"of shape {tuple(shape)}")
    model = build_model(config)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model


def _tensors(path: Path) -> dict[str, Tensor]:
    must = "it must be a whole .pt file of a state dict"
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is no such file: it is told below
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"{path} is unreadable ({error.strerror or error}); {must}") from error
    except _OF_WHAT_IS_NO_STATE_DICT as error:
        # torch's own text advises to allow code.
        raise ValueError(
            f"{path} cannot be read as tensors alone, being torn or more than that; {must}"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
            break
    holds = (
        isinstance(raw, Mapping)
        and bool(raw)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in raw.items())
    )
    require(holds, str(path), type(raw).__name__, "a state dict: names and tensors")
    return dict(raw)


def _renamed(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for full_name, tensor in tensors.items():
        name = full_name
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        for pattern, ours in _NAMES:
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, ours, name)] = tensor
                break
        else:
            raise ValueError(
                f"{path} has a tensor {full_name}, which no variant has; it must be a nanochat model"
            )
    return renamed


def _beside(path: Path) -> Path | None:
    """`meta_000123.json` beside `model_000123.pt`, if it is there."""
    meta = path.with_name(path.name.replace("model_", "meta_")).with_suffix(".json")
    return meta if meta != path and meta.exists() else None


def _config(weights: Mapping[str, Tensor], meta: Path | None) -> dict[str, object]:
    for name in ("embedding.weight", "blocks.0.attention.k.weight"):
        require(name in weights, f"{name} of the checkpoint", "missing", "there: it is another model")
        require(weights[name].ndim == 2, f"{name} of the checkpoint", tuple(weights[name].shape), "a matrix")
    rows, width = weights["embedding.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    shape: dict[str, object] = {
        "variant": "2026-07" if "smear.strength" in weights else "2026-01",
        "n_layer": layers,
        "n_embd": width,
        "n_head": width // HEAD_DIM,
        "n_kv_head": weights["blocks.0.attention.k.weight"].size(0) // HEAD_DIM,
        "vocab_size": rows,
        "sequence_length": SEQUENCE_LENGTH,
    }
    if meta is not None:
        return {**shape, **_told(meta)}
    whole = width % HEAD_DIM == 0
    require(whole, "the width of the checkpoint", width, f"a multiple of {HEAD_DIM}, or give its --meta")
    return shape


def _told(meta: Path) -> dict[str, object]:
    try:
        raw: Any = json.loads(meta.read_text(encoding="utf-8"))
        told: Mapping[str, object] = raw["model_config"]
        return {ours: told[theirs] for theirs, ours in _META_KEYS.items() if theirs in told}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{meta} does not say what the model is ({error}); it must have model_config"
        ) from error
