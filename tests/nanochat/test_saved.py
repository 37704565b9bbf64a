"""A run's newest whole snapshot is found with its tokenizer, and what is wrong with one is said."""

import argparse
import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save

from nanochat.model import GPTConfig, build_model, plain
from nanochat.saved import load_newest
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import train_tokenizer

SHAPE = GPTConfig(n_layer=2, n_embd=32, n_head=2, n_kv_head=1, vocab_size=300, sequence_length=16)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        [Path(argparse.__file__).read_text()], vocab_size=300, doc_cap=5_000, max_chars=5_000
    )


def write_snapshot(directory, version, shape=SHAPE):
    contents = save(build_model(shape, seed=version).state_dict())
    place = directory / "snapshots" / f"{version:06d}-0123abcd"
    place.mkdir(parents=True)
    (place / "x-model.safetensors").write_bytes(contents)
    files = {"model.safetensors": ["x-model.safetensors", hashlib.sha256(contents).hexdigest()]}
    (place / "manifest.json").write_text(json.dumps({"files": files}))
    return place


@pytest.fixture
def run_dir(tmp_path, tokenizer):
    tokenizer.save(tokenizer_path(tmp_path))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": plain(SHAPE)}))
    for version in (2, 10, 9):
        write_snapshot(tmp_path, version)
    return tmp_path


def is_of(model, seed):
    expected = build_model(SHAPE, seed=seed).state_dict()
    return all(torch.equal(expected[name], value) for name, value in model.state_dict().items())


def test_the_newest_by_number_is_read(run_dir, tokenizer):
    saved = load_newest(run_dir)
    assert saved.path.name == "000010-0123abcd"
    assert is_of(saved.model, 10) and not is_of(saved.model, 9)
    assert saved.tokenizer.hash == tokenizer.hash
    assert not saved.model.training


@pytest.mark.parametrize("harm", ["change", "tear", "no manifest", "no weights", "unfinished"])
def test_a_snapshot_that_is_not_whole_is_passed_over(run_dir, harm, caplog):
    place = run_dir / "snapshots" / "000010-0123abcd"
    file = place / "x-model.safetensors"
    contents = file.read_bytes()
    if harm == "change":
        file.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    elif harm == "tear":
        file.write_bytes(contents[:-5])
    elif harm == "no manifest":
        (place / "manifest.json").unlink()
    elif harm == "no weights":
        file.unlink()
    else:
        place.rename(place.with_name(".000010-0123abcd"))
    assert is_of(load_newest(run_dir).model, 9)
    assert ("looking for an older one" in caplog.text) == (harm != "unfinished")


def test_what_is_missing_is_said(run_dir, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(
        ValueError, match="holds no whole snapshot and no checkpoint; it must hold one: train"
    ):
        load_newest(empty)
    with pytest.raises(
        ValueError, match=r"the run directory is '.*nowhere'; it must be a directory that a run"
    ):
        load_newest(empty / "nowhere")
    (run_dir / "config.yaml").rename(run_dir / "elsewhere.yaml")
    with pytest.raises(ValueError, match=r"config.yaml does not say what the model is .*: copy it there"):
        load_newest(run_dir)


def test_parts_that_do_not_belong_together_are_refused(run_dir):
    other = GPTConfig(**{**plain(SHAPE), "n_layer": 3})
    (run_dir / "config.yaml").write_text(yaml.safe_dump({"model": plain(other)}))
    with pytest.raises(ValueError, match=r"is of another model than config\.yaml describes"):
        load_newest(run_dir)
    wider = GPTConfig(**{**plain(SHAPE), "vocab_size": 310})
    (run_dir / "config.yaml").write_text(yaml.safe_dump({"model": plain(wider)}))
    with pytest.raises(ValueError, match=r"the vocabulary of .* is 300; it must be 310, as the model's"):
        load_newest(run_dir)
