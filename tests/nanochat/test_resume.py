"""One root holds one run: a new one does not begin where another is, and only the same one goes on."""

import json
import shutil

import pytest

from nanochat import eval, sft, shards, tok_train, train, verb
from nanochat.checkpoint import facts_of
from nanochat.dataset import manifest_path

CPU = ["--device", "cpu", "--device-batch-size", "2", "--eval-sequences", "2"]
SHAPE = ["--depth", "1", "--width", "32", "--heads", "2", "--sequence-length", "32"]
STEPS = ["--num-iterations", "2", "--save-every", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A root with a run of two steps, and one of two steps tuned from it."""
    root = tmp_path_factory.mktemp("root")
    texts = {"train": [f"def f{i}(): return {i}\n" * 8 for i in range(60)], "val": ["x = 1\n" * 20] * 4}
    shards.write_dataset(root / "data", name="d", source="here", texts=texts)
    tok_train.train_tokenizer_to(root, vocab_size=300, max_chars=20_000, doc_cap=2_000)
    (root / "talk.jsonl").write_text(json.dumps({"question": "a", "answer": "b"}))
    (root / "mixture.yaml").write_text("train: [{file: talk.jsonl, times: 40}]")
    assert verb.run(train.main, training(root)) == 0
    assert verb.run(sft.main, tuning(root)) == 0
    return root


@pytest.fixture
def root(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "root")


def training(root, *more):
    return ["--root", str(root), *CPU, *SHAPE, *STEPS, *more]


def tuning(root, *more):
    return ["--root", str(root), "--mixture", str(root / "mixture.yaml"), *CPU, *STEPS, *more]


VERBS = {"train": (train.main, training, "."), "sft": (sft.main, tuning, "sft")}


def contents(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", VERBS)
def test_a_run_does_not_begin_where_another_one_left_checkpoints(root, name, capsys):
    main, call, _ = VERBS[name]
    before = contents(root)
    assert verb.run(main, call(root, "--num-iterations", "1", "--seed", "7")) == 2
    error = capsys.readouterr().err
    assert "has a run's checkpoints, up to step-0000002.safetensors; it must have none" in error
    assert "--resume, or give another --root" in error and error.count("\n") == 1
    assert contents(root) == before


@pytest.mark.parametrize("name", VERBS)
def test_a_run_that_is_done_says_that_nothing_is_left_to_do(root, name, capsys):
    main, call, _ = VERBS[name]
    before = contents(root)
    assert verb.run(main, call(root, "--resume")) == 0
    assert "step 2 of 2 is done, nothing is left to do" in capsys.readouterr().out
    assert contents(root) == before


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("train", ["--seed", "7"], "seed is 1; it must be 7, as asked"),
        ("train", ["--matrix-lr", "0.05"], "optim.matrix_lr is 0.02; it must be 0.05, as asked"),
        ("train", ["--num-iterations", "3"], "num_iterations is 2; it must be 3, as asked"),
        ("sft", ["--seed", "7"], "seed is 1; it must be 7, as asked"),
        ("sft", ["--lr-factor", "3"], "lr_factor is 0.02; it must be 3.0, as asked"),
    ],
)
def test_what_changes_the_bytes_is_not_resumed(root, name, more, message, capsys):
    main, call, place = VERBS[name]
    (root / place / "checkpoints" / "step-0000002.safetensors").unlink()
    before = contents(root)
    assert verb.run(main, call(root, "--resume", *more)) == 2
    error = capsys.readouterr().err
    assert message in error and "or begin in another --root" in error and error.count("\n") == 1
    assert contents(root) == before


def test_tuning_does_not_go_on_from_other_weights_of_the_same_name(root, tmp_path, capsys):
    other = tmp_path / "other"
    for name in ("data", "tokenizer"):
        shutil.copytree(root / name, other / name)
    assert verb.run(train.main, training(other, "--seed", "7")) == 0
    assert verb.run(sft.main, tuning(root, "--resume", "--from", str(other))) == 2
    assert "from_weights is" in capsys.readouterr().err


def test_what_determines_a_run_is_in_its_checkpoint(trained):
    facts = facts_of(trained / "checkpoints" / "step-0000002.safetensors")
    assert facts["seed"] == 1 and facts["optim"]["adam_betas"] == [0.8, 0.95]
    assert facts["schedule"]["warmdown_share"] == 0.4
    assert manifest_path(trained).exists() and verb.run(eval.main, ["--root", str(trained), *CPU[:4]]) == 0
