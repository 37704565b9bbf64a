"""The vanilla loop under torchrun: at two ranks it trains what one rank does."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from nanochat import dataset, tok_train, train, verb

SHAPE = ["--depth", "2", "--width", "32", "--heads", "2", "--sequence-length", "32", "--eval-sequences", "8"]
SHAPE += ["--device", "cpu", "--total-batch-size", "256", "--num-iterations", "4", "--save-every", "1"]

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    dataset.prepare_stdlib(root, max_bytes=200_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=400, max_chars=50_000, doc_cap=4_000)
    return root


def a_root_like(prepared, path):
    path.mkdir()
    for name in ("data", "tokenizer"):
        (path / name).symlink_to(prepared / name)
    return path


def at_two_ranks(root, *arguments):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*torchrun, "-m", "nanochat.train", "--root", str(root), *SHAPE, *arguments],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def checkpoint_of(root, step):
    return load_file(root / "checkpoints" / f"step-{step:07d}.safetensors")


def test_two_ranks_train_what_one_does_and_one_goes_on_from_their_checkpoint(prepared, tmp_path):
    alone = a_root_like(prepared, tmp_path / "alone")
    several = a_root_like(prepared, tmp_path / "several")
    assert verb.run(train.main, ["--root", str(alone), *SHAPE, "--device-batch-size", "8"]) == 0
    said = at_two_ranks(several, "--device-batch-size", "2")  # two ranks, two passes each
    assert "step 4 of 4, 1024 tokens" in said and said.count("step 4 of 4") == 1, "one rank speaks"

    one, two = checkpoint_of(alone, 1), checkpoint_of(several, 1)
    assert one.keys() == two.keys()
    means = [name for name in one if name.startswith(("optimizer.mean.", "optimizer.momentum."))]
    assert any(one[name].abs().max() > 0 for name in means)
    # They are linear in the gradients; AdamW's first steps are hardly more than their signs.
    for name in means:
        assert torch.allclose(one[name], two[name], atol=1e-8, rtol=1e-4), name

    for step in (3, 4):
        (several / "checkpoints" / f"step-{step:07d}.safetensors").unlink()
    resume = ["--root", str(several), *SHAPE, "--device-batch-size", "8", "--resume"]
    assert verb.run(train.main, resume) == 0
    assert val_bpb(several) == pytest.approx(val_bpb(alone), abs=2e-3)
    assert val_bpb(alone) != pytest.approx(val_bpb(alone, at=0), abs=2e-3)


def val_bpb(root, at=-1):
    records = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    return [record["val_bpb"] for record in records if "val_bpb" in record][at]
