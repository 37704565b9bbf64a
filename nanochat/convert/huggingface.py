"""A model and its tokenizer as a folder that Hugging Face's transformers load, without this package."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nanochat.files import replacing, write_text
from nanochat.model import GPT
from nanochat.model.v2026_01 import ROTARY_BASE as OLD_BASE
from nanochat.model.v2026_07 import ROTARY_BASE as NEW_BASE
from nanochat.saved import Saved
from nanochat.settings import require
from nanochat.tokenizer import BOS

CODE = ("configuration_nanochat.py", "modeling_nanochat.py")
CLASS = "NanochatForCausalLM"
CHAT_TEMPLATE = (
    "{%- set ns = namespace(system='') -%}{{- bos_token -}}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'] + '\\n\\n' -%}{%- else -%}"
    "{{- '<|' + message['role'] + '_start|>' + ns.system + message['content'] "
    "+ '<|' + message['role'] + '_end|>' -}}{%- set ns.system = '' -%}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant_start|>' -}}{%- endif -%}"
)
"""What `nanochat.conversation.render` does."""


def write_folder(saved: Saved, directory: Path) -> None:
    """Write weights, code, tokenizer and configurations into `directory`, which is new or empty.

    Raises:
        ValueError: The directory holds something.
        OSError: It cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    held = sorted(path.name for path in directory.iterdir())
    require(not held, f"what {directory} holds", held[:3], "nothing: choose a new directory")
    weights = {name: p.detach().contiguous() for name, p in saved.model.named_parameters()}
    with replacing(directory / "model.safetensors") as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})
    for name in CODE:
        code = resources.files("nanochat.convert.remote").joinpath(name).read_text(encoding="utf-8")
        write_text(directory / name, code)
    stop = [saved.tokenizer.encode_special("<|assistant_end|>")[0], saved.tokenizer.bos_id]
    length = saved.model.config.sequence_length
    for name, contents in (
        ("config.json", _model_config(saved.model, stop)),
        ("generation_config.json", {"bos_token_id": stop[1], "eos_token_id": stop, "use_cache": False}),
        ("tokenizer_config.json", _tokenizer_config(length)),
    ):
        write_text(directory / name, json.dumps(contents, indent=1, ensure_ascii=False) + "\n")
    saved.tokenizer.bpe.save_huggingface(directory / "tokenizer.json")


def _model_config(model: GPT, stop: list[int]) -> dict[str, Any]:
    config = model.config
    return {
        "architectures": [CLASS],
        "model_type": "curtail_nanochat",
        "auto_map": {
            "AutoConfig": "configuration_nanochat.NanochatConfig",
            "AutoModelForCausalLM": f"modeling_nanochat.{CLASS}",
        },
        "variant": config.variant,
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_kv_head": config.n_kv_head,
        "vocab_size": config.vocab_size,
        "padded_vocab_size": config.padded_vocab_size,
        "sequence_length": config.sequence_length,
        "windows": list(config.windows),
        "rotary_base": NEW_BASE if config.variant == "2026-07" else OLD_BASE,
        "bos_token_id": stop[1],
        "eos_token_id": stop,
        "tie_word_embeddings": False,
        "use_cache": False,
        "dtype": str(torch.float32).removeprefix("torch."),
    }


def _tokenizer_config(length: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": "<|assistant_end|>",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
