"""One root holds one run: a new one does not begin where another is, and only the same one goes on."""

import io
import json
import resource
import shutil
import sys
from contextlib import contextmanager

import pytest

from nanochat import checkpoint, eval, sft, shards, tok_train, train, verb
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


SMALL = 60_000
"""Bytes that a checkpoint of these models does not fit into, and everything else does."""


@contextmanager
def files_of_at_most(size):
    """Have the kernel refuse to write longer ones, as a full disk would; gives what lets it write again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Heard(io.StringIO):
    """A standard error or output, on each of whose lines something happens."""

    def __init__(self, happens):
        super().__init__()
        self._happens = happens

    def write(self, text):
        self._happens()
        return super().write(text)


def begun_anew(root, name):
    shutil.rmtree(root / VERBS[name][2] / "checkpoints")


@pytest.mark.parametrize("name", VERBS)
def test_a_checkpoint_that_the_disk_does_not_take_ends_no_run_on_its_way(root, name, monkeypatch):
    main, call, place = VERBS[name]
    begun_anew(root, name)
    with files_of_at_most(SMALL) as make_room:
        monkeypatch.setattr(sys, "stderr", heard := Heard(make_room))
        assert verb.run(main, call(root)) == 0
    [line] = heard.getvalue().splitlines()
    assert "step-0000001.safetensors is not written (File too large), training goes on: make room" in line
    assert [path.name for path in (root / place / "checkpoints").iterdir()] == ["step-0000002.safetensors"]


@pytest.mark.parametrize("name", VERBS)
def test_the_last_checkpoint_that_the_disk_does_not_take_is_one_line(root, name, capsys):
    main, call, place = VERBS[name]
    begun_anew(root, name)
    with files_of_at_most(SMALL):
        assert verb.run(main, call(root, "--save-every", "0")) == 1
    error = capsys.readouterr().err
    assert "step-0000002.safetensors cannot be used (File too large): give another path" in error
    assert error.count("\n") == 1
    assert not list((root / place / "checkpoints").iterdir())


def test_a_log_that_the_disk_does_not_take_ends_no_run_and_stays_whole(root, capsys):
    begun_anew(root, "train")
    with files_of_at_most(0):
        verb.run(train.main, training(root, "--log-every", "1", "--save-every", "0"))
    error = capsys.readouterr().err
    assert "log.jsonl lacks step 0 (File too large): make room" in error
    assert "log.jsonl lacks step 1 (File too large): make room" in error
    assert (root / "log.jsonl").read_bytes() == b""


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_of_two_runs_at_once_in_a_root_the_second_is_refused_and_changes_nothing(root, name, more, capsys):
    main, call, place = VERBS[name]
    directory = root / place
    if more:
        (directory / "checkpoints" / "step-0000002.safetensors").unlink()
    else:
        begun_anew(root, name)
    with checkpoint.alone(directory, new=not more):
        before = contents(directory)
        assert verb.run(main, call(root, *more)) == 2
        assert "has a run under way; there must be one at a time" in capsys.readouterr().err
        assert contents(directory) == before
    assert verb.run(main, call(root, *more)) == 0


def test_a_log_that_is_taken_away_ends_no_run(root, monkeypatch):
    begun_anew(root, "train")
    path = root / "log.jsonl"
    monkeypatch.setattr(sys, "stdout", Heard(lambda: path.unlink(missing_ok=True)))
    assert verb.run(train.main, training(root, "--log-every", "1")) == 0
    assert not path.exists()


@pytest.mark.parametrize("name", VERBS)
def test_what_was_killed_as_it_saved_is_removed_by_the_next_run(root, name):
    main, call, place = VERBS[name]
    checkpoints = root / place / "checkpoints"
    (checkpoints / "step-0000002.safetensors").unlink()
    for left in (".step-0000002.safetensors.0123abcd", ".tmpXMb9cb", ".keep"):
        (checkpoints / left).write_bytes(b"half")
    assert verb.run(main, call(root, "--resume")) == 0
    found = sorted(path.name for path in checkpoints.iterdir())
    assert found == [".keep", "step-0000001.safetensors", "step-0000002.safetensors"]


def test_who_may_read_a_checkpoint_follows_from_the_umask(trained):
    [one, _] = sorted((trained / "checkpoints").iterdir())
    assert one.stat().st_mode == (trained / "log.jsonl").stat().st_mode


class Gone(io.StringIO):
    """A standard output whose reader goes away before the last line."""

    def write(self, text):
        if text.startswith("step 2 "):
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_a_run_that_fails_as_it_tells_of_a_step_has_its_checkpoint(root, monkeypatch):
    begun_anew(root, "train")
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError, match="standard output"):
        train.main(training(root, "--save-every", "0"))
    assert [path.name for path in (root / "checkpoints").iterdir()] == ["step-0000002.safetensors"]


def test_samples_that_do_not_fit_are_refused_before_the_first_step(root, capsys):
    begun_anew(root, "train")
    assert verb.run(train.main, training(root, "--sequence-length", "2", "--sample-every", "2")) == 2
    told = capsys.readouterr()
    assert "have longer sequences, or no samples" in told.err and told.out == ""


def test_no_other_tokenizer_takes_the_place_of_that_of_a_run_under_way(root, capsys):
    begun_anew(root, "train")
    path = tok_train.tokenizer_path(root)
    before = path.read_bytes()
    with checkpoint.alone(root, new=True):
        assert verb.run(tok_train.main, ["--root", str(root), "--vocab-size", "301"]) == 2
    assert "has a run under way" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert verb.run(tok_train.main, ["--root", str(root), "--vocab-size", "301"]) == 0
    assert path.read_bytes() != before
