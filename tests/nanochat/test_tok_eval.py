import json

import pytest

from nanochat import dataset, shards, tok_eval, tok_train, verb
from nanochat.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    dataset.prepare_stdlib(root, max_bytes=200_000, seed=1)
    tok_train.train_tokenizer_to(root, vocab_size=600, max_chars=100_000, doc_cap=4_000)
    return root


def test_what_is_said_is_what_the_tokenizer_does(root, capsys):
    out = root / "figures.json"
    assert verb.run(tok_eval.main, ["--root", str(root), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    figures = json.loads(out.read_text())
    tokenizer = Tokenizer.load(tok_train.tokenizer_path(root))
    texts = list(shards.read_texts(shards.load(dataset.manifest_path(root)), "val"))
    held_out = figures["texts"]["the held-out split"]
    assert held_out["bytes"] == sum(len(text.encode()) for text in texts)
    assert held_out["tokens"] == sum(len(tokenizer.encode(text)) for text in texts)
    assert held_out["bytes_per_token"] > 1.5 > figures["texts"]["Korean"]["bytes_per_token"]
    used = {token for text in texts for token in tokenizer.encode(text)}
    assert figures["used_share"] == len(used) / 600
    assert f"the held-out split: {held_out['bytes_per_token']:.2f} bytes a token" in said
    assert said.endswith("every text came back as it was\n")


class Forgetful:
    """A tokenizer that loses what is not ASCII."""

    def encode(self, text):
        return list(text.encode("ascii", errors="replace"))

    def decode(self, ids):
        return bytes(ids).decode()


def test_a_text_that_does_not_come_back_is_shown():
    assert tok_eval.compression(Forgetful(), ["abc", "de"]) == tok_eval.Compression(5, 5)
    with pytest.raises(ValueError, match="the tokenizer gives '\\?ber' for '\u00fcber'"):
        tok_eval.compression(Forgetful(), ["abc", "abc \u00fcber"])


def test_a_root_without_a_tokenizer_is_one_line(tmp_path, capsys):
    assert verb.run(tok_eval.main, ["--root", str(tmp_path)]) == 2
    assert "run nanochat.tok_train" in capsys.readouterr().err
