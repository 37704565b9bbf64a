"""Models and tokenizers of the original come in, and go out to transformers, with the same logits and ids."""

import base64
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from shaped_models import SHAPES, a_model

import rustbpe
from nanochat import chat, verb
from nanochat.convert.__main__ import main
from nanochat.convert.original import read_original
from nanochat.convert.ranks import read_ranks, tokenizer_of
from nanochat.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([Path(__file__).read_text()], vocab_size=400, doc_cap=20_000, max_chars=20_000)


def as_the_original(model):
    """The state dict that the original would have of a model: its names, written out one by one."""
    ours = model.state_dict()
    theirs = {
        "transformer.wte.weight": ours["embedding.weight"].bfloat16(),
        "lm_head.weight": ours["head.weight"],
        "resid_lambdas": ours["residual_lambdas"],
        "x0_lambdas": ours["x0_lambdas"],
    }
    for i in range(model.config.n_layer):
        there, here = f"transformer.h.{i}", f"blocks.{i}"
        for letter in "qkv":
            theirs[f"{there}.attn.c_{letter}.weight"] = ours[f"{here}.attention.{letter}.weight"]
        theirs[f"{there}.attn.c_proj.weight"] = ours[f"{here}.attention.out.weight"]
        theirs[f"{there}.mlp.c_fc.weight"] = ours[f"{here}.mlp.up.weight"]
        theirs[f"{there}.mlp.c_proj.weight"] = ours[f"{here}.mlp.down.weight"]
        if f"{here}.value_gate.weight" in ours:
            theirs[f"{there}.attn.ve_gate.weight"] = ours[f"{here}.value_gate.weight"]
            theirs[f"value_embeds.{i}.weight"] = ours[f"value_embeddings.{i}.weight"]
    if model.config.variant == "2026-07":
        theirs["smear_gate.weight"] = ours["smear.gate.weight"]
        theirs["smear_lambda"] = ours["smear.strength"]
        theirs["backout_lambda"] = ours["back_out"]
    return theirs


def meta_of(config):
    return {
        "step": 7,
        "model_config": {
            "sequence_len": config.sequence_length, "vocab_size": config.vocab_size,
            "n_layer": config.n_layer, "n_head": config.n_head, "n_kv_head": config.n_kv_head,
            "n_embd": config.n_embd, "window_pattern": config.window_pattern,
        },
    }  # fmt: skip


def write_original(directory, model, **changes):
    path = directory / "model_000007.pt"
    torch.save({**as_the_original(model), **changes}, path)
    (directory / "meta_000007.json").write_text(json.dumps(meta_of(model.config)))
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_of_the_original_has_the_same_logits(tmp_path, name):
    model = a_model(name)
    with torch.no_grad():  # its embeddings are kept in bf16
        model.embedding.weight.copy_(model.embedding.weight.bfloat16())
    read = read_original(write_original(tmp_path, model))
    assert read.config == model.config
    ids = torch.randint(0, 400, (2, 20), generator=torch.Generator().manual_seed(1))
    assert torch.equal(read.logits(ids), model.logits(ids))


def rotated(y, cos, sin):
    return torch.cat((y[:, :64] * cos + y[:, 64:] * sin, y[:, 64:] * cos - y[:, :64] * sin), 1)


def test_a_first_model_of_the_original_by_its_own_formulas(tmp_path):
    """An independent forward pass over the original's names: what each tensor is multiplied with."""
    model = a_model("2026-01")
    w = {name: tensor.float() for name, tensor in as_the_original(model).items()}
    read = read_original(write_original(tmp_path, model))
    ids = torch.arange(10)
    x = x0 = F.rms_norm(w["transformer.wte.weight"][ids], (256,), eps=1e-6)
    angles = torch.outer(torch.arange(10.0), 10_000 ** -(torch.arange(0, 128, 2) / 128))
    cos, sin = angles.cos().bfloat16().float(), angles.sin().bfloat16().float()
    for i in range(3):
        x = w["resid_lambdas"][i] * x + w["x0_lambdas"][i] * x0
        seen, block = F.rms_norm(x, (256,), eps=1e-6), f"transformer.h.{i}"
        heads = []
        for h in range(2):
            q, k, v = (seen @ w[f"{block}.attn.c_{n}.weight"][128 * h : 128 * (h + 1)].T for n in "qkv")
            q, k = (F.rms_norm(rotated(y, cos, sin), (128,), eps=1e-6) for y in (q, k))
            scores = (q @ k.T / 128**0.5).masked_fill(torch.ones(10, 10).triu(1) > 0, -torch.inf)
            heads.append(scores.softmax(-1) @ v)
        x = x + torch.cat(heads, 1) @ w[f"{block}.attn.c_proj.weight"].T
        inner = (F.rms_norm(x, (256,), eps=1e-6) @ w[f"{block}.mlp.c_fc.weight"].T).relu().square()
        x = x + inner @ w[f"{block}.mlp.c_proj.weight"].T
    z = (F.rms_norm(x, (256,), eps=1e-6) @ w["lm_head.weight"].T)[:, :400]
    assert torch.allclose(read.logits(ids[None])[0], 15 * (z / 15).tanh(), atol=1e-4)


@pytest.mark.parametrize("wrapper", [None, "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module."])
def test_wrapped_and_prefixed_names_are_read_and_a_shape_without_meta_is_found(tmp_path, wrapper, prefix):
    model = a_model("grouped")
    named = {prefix + name: tensor for name, tensor in as_the_original(model).items()}
    path = tmp_path / "prototype.pt"
    torch.save(named if wrapper is None else {wrapper: named, "round": 3}, path)
    config = read_original(path).config
    assert (config.n_layer, config.n_embd, config.n_head, config.n_kv_head) == (3, 256, 2, 1)
    assert (config.variant, config.vocab_size, config.sequence_length) == ("2026-01", 448, 2_048)


def test_a_model_from_before_the_lambdas_has_them_do_nothing(tmp_path):
    model = a_model("2026-01")
    with torch.no_grad():
        model.residual_lambdas.fill_(1)
        model.x0_lambdas.zero_()
        model.embedding.weight.copy_(model.embedding.weight.bfloat16())
    old = as_the_original(model)
    del old["resid_lambdas"], old["x0_lambdas"]
    torch.save(old, tmp_path / "model_000001.pt")
    (tmp_path / "meta_000001.json").write_text(json.dumps(meta_of(model.config)))
    ids = torch.arange(8)[None]
    assert torch.equal(read_original(tmp_path / "model_000001.pt").logits(ids), model.logits(ids))


class Runs:
    """What a pickle could do when it is opened."""

    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": torch.ones(1)}, "has a tensor extra, which no variant has"),
        (
            {"lm_head.weight": torch.ones(3, 3)},
            r"head.weight of .* is \(3, 3\); it must be of shape \(448, 256\)",
        ),
        ({"smear_lambda": torch.ones(1)}, "lacks of variant 2026-07 is"),
        ({"value_embeds.1.weight": torch.ones(1)}, "has besides variant 2026-01 is"),
        ({"lm_head.weight": Runs()}, "cannot be read as tensors alone"),
    ],
)
def test_what_is_no_such_model_is_refused(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    path = write_original(tmp_path, a_model("2026-01"), **change)
    with pytest.raises(ValueError, match=message):
        read_original(path)
    assert not (tmp_path / "was-run").exists()


def test_a_torn_or_missing_file_is_refused(tmp_path):
    path = write_original(tmp_path, a_model("2026-01"))
    path.write_bytes(path.read_bytes()[:1_000])
    with pytest.raises(ValueError, match="cannot be read as tensors alone"):
        read_original(path)
    with pytest.raises(ValueError, match=r"none\.pt is unreadable"):
        read_original(tmp_path / "none.pt")
    whole = write_original(tmp_path, a_model("2026-01"))
    (tmp_path / "meta_000007.json").write_text("{}")
    with pytest.raises(ValueError, match="does not say what the model is"):
        read_original(whole)


def ranks_of(tokenizer):
    count = tokenizer.vocab_size - len(SPECIAL_TOKENS)
    return {tokenizer.bpe.token_bytes(i): i for i in range(count)}


def write_ranks(path, ranks):
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    return path


def test_a_tokenizer_from_its_ranks_is_the_same(tmp_path, tokenizer):
    read = tokenizer_of(read_ranks(write_ranks(tmp_path / "t.tiktoken", ranks_of(tokenizer))))
    assert read.hash == tokenizer.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ranks: {**ranks, b"zz": 10_000}, "the ranks is 'with gaps'"),
        (lambda ranks: {**ranks, b"\x00": 1, b"\x01": 0}, "the first 256 tokens is 'others'"),
        (lambda ranks: {**ranks, b"\xff\xfe\xfd": len(ranks)}, "made of 3 of lower rank"),
    ],
)
def test_ranks_that_no_training_gave_are_refused(tokenizer, change, message):
    with pytest.raises(ValueError, match=message):
        tokenizer_of(change(ranks_of(tokenizer)))


def test_a_pickle_of_a_tokenizer_is_not_opened(tmp_path):
    with pytest.raises(ValueError, match="a file of ranks: export it"):
        read_ranks(tmp_path / "tokenizer.pkl")
    (tmp_path / "bad.tiktoken").write_text("YQ== 0\nnot one\n")
    with pytest.raises(ValueError, match="line 2 is no token and its rank"):
        read_ranks(tmp_path / "bad.tiktoken")


def test_the_verb_makes_a_root_that_chat_reads(tmp_path, tokenizer, capsys):
    original = write_original(tmp_path, a_model("2026-07"))
    ranks = write_ranks(tmp_path / "t.tiktoken", ranks_of(tokenizer))
    given = ["from-nanochat", "--checkpoint", str(original), "--tokenizer", str(ranks)]
    root = tmp_path / "root"
    assert verb.run(main, [*given, "--root", str(root)]) == 0
    assert "variant 2026-07" in capsys.readouterr().out
    assert verb.run(chat.main, [str(root), "-p", "hi", "--max-tokens", "2", "--device", "cpu"]) == 0
    assert verb.run(main, [*given, "--root", str(root)]) == 2
    assert "it must be new: choose another --root" in capsys.readouterr().err
    there = root / "tokenizer" / "tokenizer.json"
    (root / "checkpoints" / "step-0000000.safetensors").unlink()
    train_tokenizer(["a b c"] * 9, vocab_size=265, doc_cap=9, max_chars=99).save(there)
    before = there.read_bytes()
    assert verb.run(main, [*given, "--root", str(root)]) == 2
    assert "is 'another tokenizer'; it must be that of" in capsys.readouterr().err
    assert there.read_bytes() == before
    small = write_ranks(tmp_path / "s.tiktoken", dict(list(ranks_of(tokenizer).items())[:300]))
    other = ["from-nanochat", "--checkpoint", str(original), "--tokenizer", str(small)]
    assert verb.run(main, [*other, "--root", str(tmp_path / "other")]) == 2
    assert "is 309; it must be 400, as the model's" in capsys.readouterr().err


def test_merges_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="merge"):
        rustbpe.Tokenizer.from_merges([(300, 1)])
    made = rustbpe.Tokenizer.from_merges([(97, 98)], special_tokens=SPECIAL_TOKENS)
    assert Tokenizer(made).encode("abc") == [256, 99]
