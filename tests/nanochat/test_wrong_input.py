"""Every verb tells wrong input in one line and ends with 2: paths, files and numbers that cannot be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from nanochat import chat, checkpoint, dataset, eval, sft, tok_eval, tok_train, tokenizer, train, verb
from nanochat.convert.__main__ import main as convert
from nanochat.web.__main__ import main as web

CPU = ["--device", "cpu"]
SHAPE = ["--depth", "1", "--width", "32", "--heads", "2", "--sequence-length", "32"]
STEPS = [*CPU, "--device-batch-size", "2", "--eval-sequences", "2", "--num-iterations", "1"]
CHECKPOINT = "checkpoints/step-0000001.safetensors"
VERBS = {
    "dataset": dataset.main, "tok_train": tok_train.main, "tok_eval": tok_eval.main, "train": train.main,
    "eval": eval.main, "chat": chat.main, "sft": sft.main, "web": web, "convert": convert,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    dataset.prepare_stdlib(root, max_bytes=100_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=300, max_chars=20_000, doc_cap=2_000)
    assert verb.run(train.main, ["--root", str(root), *SHAPE, *STEPS]) == 0
    (root / "talk.jsonl").write_text(json.dumps({"question": "a", "answer": "b"}))
    (root / "mixture.yaml").write_text("train: [{file: talk.jsonl}]")
    return root


@pytest.fixture
def root(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "root")


def call(name, root):
    """How a verb is called on a root, as a rule rightly."""
    given = {
        "train": ["--root", root, *SHAPE, "--resume", *STEPS],
        "chat": [root, "-p", "hi", *CPU], "web": [root, *CPU],
        "sft": ["--root", root, "--mixture", root / "mixture.yaml", *STEPS],
        "eval": ["--root", root, "--sequences", "2", *CPU],
        "convert": ["to-huggingface", root, "--out", root.parent / "folder"],
    }  # fmt: skip
    return [str(one) for one in given.get(name, ["--root", root])]


def told(capsys, name, arguments):
    """The one line with which a verb refuses."""
    try:
        code = verb.run(VERBS[name], [str(one) for one in arguments])
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and "Traceback" not in error, error
    return error


@pytest.mark.parametrize("name", VERBS)
def test_help_is_given(name, capsys):
    with pytest.raises(SystemExit) as ended:
        verb.run(VERBS[name], ["--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("name", VERBS)
def test_a_file_where_a_directory_must_be_is_told(name, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("not a directory")
    line = told(capsys, name, call(name, file))
    assert str(file) in line


@pytest.mark.parametrize("name", [name for name in VERBS if name != "dataset"])
def test_a_root_that_is_not_there_is_told(name, tmp_path, capsys):
    line = told(capsys, name, call(name, tmp_path / "none"))
    assert str(tmp_path / "none") in line


def torn(root):
    path = root / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-100])


def damaged(root, tensor="model.head.weight"):
    path = root / CHECKPOINT
    contents = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(contents[:8], "little")
    entry = json.loads(contents[8:header])[tensor]
    contents[header + entry["data_offsets"][0]] ^= 1
    path.write_bytes(contents)


def damaged_in_what_it_says(root):
    path = root / CHECKPOINT
    contents = path.read_bytes()
    assert b'num_iterations\\": 1' in contents
    path.write_bytes(contents.replace(b'num_iterations\\": 1', b'num_iterations\\": 2'))


def of_the_schema_before(root):
    save_file({"model.x": torch.ones(1)}, root / CHECKPOINT, metadata={"facts": '{"schema": 1}'})


def says_nothing(root):
    checkpoint.save(root / CHECKPOINT, torch.nn.Linear(1, 1), {}, {})


def says_no_json(root):
    save_file({"model.x": torch.ones(1)}, root / CHECKPOINT, metadata={"facts": "{"})


def is_a_directory(root):
    (root / CHECKPOINT).unlink()
    (root / CHECKPOINT).mkdir()


def with_another_tokenizer(root):
    tokenizer.train_tokenizer(["a b c"] * 9, vocab_size=265, doc_cap=9, max_chars=99).save(
        tok_train.tokenizer_path(root)
    )


def with_half_a_tokenizer(root):
    (root / "tokenizer" / "tokenizer.json").write_text("{")


@pytest.mark.parametrize("name", ["eval", "chat", "sft", "web", "convert"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (torn, "it must be whole: use an earlier one"),
        (damaged, "(model.head.weight is not what was written); it must be whole: use an earlier one"),
        (damaged_in_what_it_says, "(its metadata are not what was written); it must be whole"),
        (of_the_schema_before, "has schema 1; it must be 2: use another"),
        (says_nothing, "it must be model and tokenizer: use one of a run"),
        (says_no_json, "it must be whole: use an earlier one"),
        (is_a_directory, "it must be whole: use an earlier one"),
        (with_another_tokenizer, "of the tokenizer that step-0000001.safetensors was trained with"),
        (with_half_a_tokenizer, "is no usable tokenizer"),
    ],
)
def test_a_checkpoint_or_tokenizer_that_cannot_be_used_is_told(root, name, harm, message, capsys):
    harm(root)
    assert message in told(capsys, name, call(name, root))


def test_a_damaged_state_of_the_optimizer_is_not_trained_on(root, capsys):
    damaged(root, "optimizer.mean.head.weight")
    assert "(optimizer.mean.head.weight is not what was written)" in told(
        capsys, "train", call("train", root)
    )
    assert verb.run(eval.main, call("eval", root)) == 0


def test_a_tokenizer_that_checkpoints_need_is_kept(root, capsys):
    path = tok_train.tokenizer_path(root)
    before = path.read_bytes()
    assert "--root" in told(capsys, "tok_train", ["--root", root, "--vocab-size", "310"])
    assert path.read_bytes() == before
    path.unlink()
    assert verb.run(tok_train.main, ["--root", str(root), "--vocab-size", "310"]) == 0


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("train", ["--variant", "2025-12"], "choose from '2026-01', '2026-07'"),
        ("train", ["--width", "-1"], "model.n_embd is -1; it must be at least 1"),
        ("train", ["--heads", "5"], "model.n_embd is 32; it must be a multiple of n_head 5"),
        ("train", ["--total-batch-size", "0"], "--total-batch-size is 0; it must be a multiple of 64"),
        ("train", ["--seed", str(2**70)], "it must be in [0, 2^63)"),
        ("train", ["--matrix-lr", "nan"], "optim.matrix_lr is nan; it must be at least 0"),
        ("train", ["--matrix-lr", "inf"], "optim.matrix_lr is inf; it must be at least 0, and finite"),
        ("train", ["--core-every", "1", "--core", "/nowhere"], "must be part of a CORE bundle"),
        (
            "train",
            ["--core", "/nowhere"],
            "--core-every is 0; it must be at least 1, for --core to be evaluated",
        ),
        ("train", ["--target-flops", "1e9"], "not allowed with argument --num-iterations"),
        ("eval", ["--checkpoint", "/nowhere"], "checkpoint /nowhere is unreadable"),
        ("eval", ["--from", "/nowhere"], "the run directory is '/nowhere'"),
        ("eval", ["--out", "/"], "--out is '/'; it must be a file"),
        ("eval", ["--out", "/dev/null/x"], "/dev/null cannot be used"),
        ("eval", ["--chat", "/nowhere"], "/nowhere is unreadable"),
        ("tok_eval", ["--out", "/"], "--out is '/'; it must be a file"),
        ("chat", ["--device", "tpu"], "--device is 'tpu'; it must be cpu or cuda"),
        ("chat", ["--seed", "-1"], "seed is -1; it must be in [0, 2^63)"),
        ("chat", ["--temperature", "nan"], "temperature is nan; it must be at least 0"),
        ("web", ["--host", "192.0.2.1"], "where nothing can listen"),
        ("web", ["--port", "-1"], "--port is -1; it must be in [0, 65535]"),
        ("sft", ["--stage", "rl"], "choose from 'mid', 'sft'"),
        ("sft", ["--lr-factor", "inf"], "--lr-factor is inf; it must be above 0, and finite"),
        ("sft", ["--mixture", "/nowhere"], "mixture /nowhere is unreadable"),
        ("tok_train", ["--vocab-size", "30000"], "give more text or a vocab_size of at most"),
        ("tok_train", ["--max-chars", "many"], "invalid int value: 'many'"),
        ("convert", ["--out", "/dev/null/x"], "/dev/null/x cannot be used (Not a directory)"),
    ],
)
def test_a_value_that_cannot_be_is_told(root, name, more, message, capsys):
    if name == "tok_train":
        shutil.rmtree(root / "checkpoints")  # they would need the tokenizer that is there
    assert message in told(capsys, name, [*call(name, root), *more])


def test_lengths_that_do_not_end_are_refused(root, capsys):
    without = call("train", root)[:-2]
    for option in ("--target-flops", "--target-param-data-ratio"):
        assert "above 0, and finite" in told(capsys, "train", [*without, option, "inf"])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"{", "is unreadable (while parsing"),
        (b"\xff\xfe\x82", "is unreadable ("),
        (b"train: 3", "it must be a list"),
        (b"train: [{file: 3}]", "it must be a mapping with file, a path"),
    ],
)
def test_a_mixture_that_is_none_is_told(root, contents, message, capsys):
    (root / "mixture.yaml").write_bytes(contents)
    assert message in told(capsys, "sft", call("sft", root))


def to_root(path, tmp_path):
    ranks = tmp_path / "ranks.tiktoken"
    ranks.write_text("YQ== 0\n")
    given = ["from-nanochat", "--checkpoint", path, "--tokenizer", ranks, "--root", tmp_path / "new"]
    return [str(one) for one in given]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({1: torch.ones(2)}, "it must be a state dict: names and tensors"),
        ([1, 2], "it must be a state dict: names and tensors"),
        ({"transformer.wte.weight": torch.ones(3, 128)}, "attention.k.weight of the checkpoint is 'missing'"),
        (
            {"transformer.wte.weight": torch.ones(3), "transformer.h.0.attn.c_k.weight": torch.ones(3)},
            "embedding.weight of the checkpoint is (3,); it must be a matrix",
        ),
        (
            {"transformer.wte.weight": torch.ones(3, 64), "transformer.h.0.attn.c_k.weight": torch.eye(9)},
            "the width of the checkpoint is 64; it must be a multiple of 128, or give its --meta",
        ),
    ],
)  # fmt: skip
def test_tensors_that_are_no_model_of_the_original_are_told(tmp_path, tensors, message, capsys):
    torch.save(tensors, tmp_path / "model.pt")
    assert message in told(capsys, "convert", to_root(tmp_path / "model.pt", tmp_path))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("contents", [b"hello\n", b"", b"\x80\x04}q\x00.", bytes(range(256))])
def test_bytes_that_are_no_checkpoint_are_told(tmp_path, contents, capsys):
    (tmp_path / "model.pt").write_bytes(contents)
    line = told(capsys, "convert", to_root(tmp_path / "model.pt", tmp_path))
    assert "cannot be read as tensors alone" in line and "weights_only" not in line


def test_a_full_disk_is_no_wrong_input(capsys):
    def fills(argv):
        raise OSError(28, "No space left on device", "/there/file")

    assert verb.run(fills, []) == 1
    assert capsys.readouterr().err == (
        "error: /there/file cannot be used (No space left on device): give another path\n"
    )
