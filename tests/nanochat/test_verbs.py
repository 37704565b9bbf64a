import json
import os
import subprocess
import sys

import pytest

from nanochat import dataset, eval, shards, tok_train, train, verb

TINY = ["--depth", "2", "--width", "32", "--heads", "2", "--sequence-length", "32"]
TINY += ["--device-batch-size", "4", "--eval-sequences", "8", "--device", "cpu"]


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


def log_of(root):
    return [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]


def last_checkpoint(root, step):
    return (root / "checkpoints" / f"step-{step:07d}.safetensors").read_bytes()


def test_preparing_twice_keeps_the_first_result(prepared):
    manifest = dataset.manifest_path(prepared)
    before = {path: path.stat().st_mtime_ns for path in manifest.parent.iterdir()}
    assert dataset.prepare_stdlib(prepared, max_bytes=200_000, seed=1) == manifest
    assert {path: path.stat().st_mtime_ns for path in manifest.parent.iterdir()} == before


def test_other_arguments_and_a_corrupt_shard_prepare_again(tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    for i in range(60):
        (library / f"m{i}.py").write_text(f"x{i} = {i}\n")

    def prepare(seed):
        path = dataset.prepare_stdlib(tmp_path / "root", max_bytes=100_000, seed=seed, stdlib=library)
        return shards.load(path)

    first, second = prepare(1), prepare(2)
    assert first.hash != second.hash
    file = second.directory / second.shards[0].file
    file.write_bytes(file.read_bytes()[:-1])
    third = prepare(2)
    shards.verify(third)
    assert third.hash == second.hash


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        (["--num-iterations", "2"], 2),
        (["--target-param-data-ratio", "0.02"], 6),
        (["--target-flops", "1e8"], 3),
    ],
)
def test_a_run_of_the_new_variant_is_as_long_as_asked(prepared, tmp_path, capsys, length, steps):
    root = a_root_like(prepared, tmp_path / "root")
    arguments = ["--root", str(root), *TINY, "--variant", "2026-07", "--window-pattern", "SL", *length]
    assert verb.run(train.main, arguments) == 0
    assert f"step {steps} of {steps}" in capsys.readouterr().out


def test_the_real_library_fills_both_splits_of_different_files(prepared):
    manifest = shards.load(dataset.manifest_path(prepared))
    train_rows, val_rows = (list(shards.read_texts(manifest, split)) for split in ("train", "val"))
    assert len(train_rows) > 50 and len(val_rows) > 3
    assert not set(train_rows) & set(val_rows)
    assert sum(shard.bytes for shard in manifest.shards) <= 200_000


def test_a_tokenizer_is_kept_until_data_or_arguments_change(prepared, tmp_path):
    root = a_root_like(prepared, tmp_path / "root")
    (root / "tokenizer").unlink()
    path = tok_train.train_tokenizer_to(root, vocab_size=300, max_chars=20_000, doc_cap=4_000)
    before = path.stat().st_mtime_ns
    tok_train.train_tokenizer_to(root, vocab_size=300, max_chars=20_000, doc_cap=4_000)
    assert path.stat().st_mtime_ns == before
    tok_train.train_tokenizer_to(root, vocab_size=301, max_chars=20_000, doc_cap=4_000)
    assert path.stat().st_mtime_ns != before


def test_a_run_that_was_interrupted_ends_with_the_same_bytes(prepared, tmp_path, capsys):
    whole = a_root_like(prepared, tmp_path / "whole")
    broken = a_root_like(prepared, tmp_path / "broken")
    arguments = [*TINY, "--num-iterations", "7", "--save-every", "3", "--total-batch-size", "256"]
    assert verb.run(train.main, ["--root", str(whole), *arguments]) == 0
    assert verb.run(train.main, ["--root", str(broken), *arguments]) == 0
    for step in (6, 7):  # as if the run had died after its first checkpoint
        (broken / "checkpoints" / f"step-{step:07d}.safetensors").unlink()
    assert verb.run(train.main, ["--root", str(broken), *arguments, "--resume"]) == 0
    assert last_checkpoint(broken, 6) == last_checkpoint(whole, 6)
    assert last_checkpoint(broken, 7) == last_checkpoint(whole, 7)
    assert last_checkpoint(whole, 3) != last_checkpoint(whole, 6)
    assert "step 7 of 7, 1792 tokens" in capsys.readouterr().out


def test_the_log_of_a_resumed_run_has_every_step_once(prepared, tmp_path):
    root = a_root_like(prepared, tmp_path / "root")
    arguments = ["--root", str(root), *TINY, "--num-iterations", "5", "--save-every", "2", "--log-every", "1"]
    assert verb.run(train.main, arguments) == 0
    before = log_of(root)
    (root / "checkpoints" / "step-0000005.safetensors").unlink()
    with (root / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # half a line of a run that died
    assert verb.run(train.main, [*arguments, "--resume"]) == 0
    after = log_of(root)
    assert [record["step"] for record in after] == [0, 1, 2, 3, 4, 5]
    assert [record.get("loss") for record in after] == [record.get("loss") for record in before]
    assert all(record["tokens_per_s"] > 0 and "mfu" not in record for record in after[1:])


def test_the_log_of_a_run_that_diverges_is_json(prepared, tmp_path):
    root = a_root_like(prepared, tmp_path / "root")
    arguments = ["--root", str(root), *TINY, "--num-iterations", "4", "--log-every", "1"]
    assert verb.run(train.main, [*arguments, "--matrix-lr", "3e38"]) == 0

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    lines = (root / "log.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=refuse) for line in lines]
    assert records[-1]["step"] == 4 and records[-1]["loss"] is None
    figures = root / "figures.json"
    assert verb.run(eval.main, ["--root", str(root), "--device", "cpu", "--out", str(figures)]) == 0
    assert json.loads(figures.read_text(), parse_constant=refuse)["val_bpb"] is None


def test_samples_go_on_with_the_prompts(prepared, tmp_path, capsys):
    root = a_root_like(prepared, tmp_path / "root")
    arguments = ["--root", str(root), *TINY, "--num-iterations", "3", "--sample-every", "2"]
    assert verb.run(train.main, arguments) == 0
    sampled = [record for record in log_of(root) if "samples" in record]
    assert [record["step"] for record in sampled] == [2, 3]
    assert [text.split(" ")[0] for text in sampled[0]["samples"]] == ["def", "import", "The"]
    assert repr(sampled[0]["samples"][0]) in capsys.readouterr().out


def test_training_lowers_the_bits_per_byte_that_eval_reports(prepared, tmp_path, capsys):
    root = a_root_like(prepared, tmp_path / "root")
    arguments = [*TINY, "--num-iterations", "40", "--eval-every", "20"]
    assert verb.run(train.main, ["--root", str(root), *arguments]) == 0
    bpb = [record["val_bpb"] for record in log_of(root) if "val_bpb" in record]
    said = capsys.readouterr().out
    assert all(f"val bpb {value:.4f}" in said for value in bpb)
    assert len(bpb) == 3 and bpb[-1] < bpb[1] < bpb[0]
    assert verb.run(eval.main, ["--root", str(root), "--sequences", "8", "--device", "cpu"]) == 0
    assert float(capsys.readouterr().out.rsplit(" ", 1)[1]) == pytest.approx(bpb[-1], abs=2e-4)


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (train.main, ["--num-iterations", "0"], "--num-iterations is 0; it must be at least 1"),
        (train.main, [*TINY, "--num-iterations", "1", "--resume"], "has no checkpoint to resume"),
        (train.main, [*TINY, "--num-iterations", "1", "--total-batch-size", "100"], "a multiple of 128"),
        (
            train.main,
            [*TINY, "--num-iterations", "1", "--log-every", "-1"],
            "--log-every is -1; it must be at",
        ),
        (eval.main, [], "holds no whole snapshot and no checkpoint"),
        (eval.main, ["--max-per-task", "0"], "--max-per-task is 0; it must be at least 1"),
        (eval.main, ["--device", "tpu"], "--device is 'tpu'; it must be cpu or cuda"),
        (train.main, [*TINY, "--num-iterations", "1", "--core-every", "1"], "--core is None; it must be the"),
        (dataset.main, ["--max-bytes", "10"], "leaves split train empty"),
        (dataset.main, ["--source", "nowhere"], "source is 'nowhere'; it must be stdlib, a directory"),
        (dataset.main, ["--shards", "3"], "--shards is 3; it must be left out: stdlib is not an address"),
        (dataset.main, ["--val-shard", "3"], "--val-shard is 3; it must be left out"),
        (tok_train.main, ["--vocab-size", "9"], "vocab_size is 9; it must be at least 265"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(prepared, tmp_path, capsys, main, arguments, message):
    root = a_root_like(prepared, tmp_path / "root")
    if main is dataset.main:
        root = tmp_path / "empty"
    assert verb.run(main, ["--root", str(root), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_checkpoint_of_another_shape_is_not_resumed(prepared, tmp_path, capsys):
    root = a_root_like(prepared, tmp_path / "root")
    assert verb.run(train.main, ["--root", str(root), *TINY, "--num-iterations", "1"]) == 0
    again = ["--root", str(root), *TINY, "--num-iterations", "1", "--resume", "--depth", "3"]
    assert verb.run(train.main, again) == 2
    assert "model.n_layer is 2; it must be 3, as asked" in capsys.readouterr().err


def test_a_torn_checkpoint_is_refused(prepared, tmp_path, capsys):
    root = a_root_like(prepared, tmp_path / "root")
    path = root / "checkpoints" / "step-0000001.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"\x08\x00\x00")
    assert verb.run(eval.main, ["--root", str(root), "--device", "cpu"]) == 2
    assert "is unreadable" in capsys.readouterr().err


def test_a_directory_of_parquet_becomes_a_data_set(prepared, tmp_path, capsys):
    root = tmp_path / "root"
    source = tmp_path / "fineweb"
    source.mkdir()
    manifest = shards.load(dataset.manifest_path(prepared))
    for i, shard in enumerate(manifest.shards):
        (source / f"{i:03d}.parquet").write_bytes((manifest.directory / shard.file).read_bytes())
    assert verb.run(dataset.main, ["--root", str(root), "--source", str(source)]) == 0
    adopted = shards.load(dataset.manifest_path(root))
    assert [s.split for s in adopted.shards] == ["train", "val"]
    assert list(shards.read_texts(adopted, "val")) == list(shards.read_texts(manifest, "val"))
    assert verb.run(dataset.main, ["--root", str(root), "--source", str(tmp_path)]) == 2


@pytest.mark.parametrize("module", ["dataset", "train"])
def test_a_verb_without_its_root_says_so_in_one_line(module):
    done = subprocess.run(
        [sys.executable, "-m", f"nanochat.{module}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "--root" in done.stderr and done.stderr.count("\n") == 1
