"""A Hugging Face folder: transformers has the same logits, the same ids and the same conversations."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shaped_models import SHAPES, a_model

from nanochat import verb
from nanochat.checkpoint import checkpoint_path, save
from nanochat.conversation import Message, render, render_for_reply
from nanochat.convert.__main__ import main
from nanochat.model import plain
from nanochat.saved import load_newest
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import SPECIAL_TOKENS, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([Path(__file__).read_text()], vocab_size=400, doc_cap=20_000, max_chars=20_000)


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, tmp_path_factory, tokenizer):
    """A Hugging Face folder, and the root that it was made from."""
    root = tmp_path_factory.mktemp("root")
    model = a_model(request.param)
    tokenizer.save(tokenizer_path(root))
    save(
        checkpoint_path(root, 3),
        model,
        {},
        {"model": plain(model.config), "tokenizer": tokenizer.hash, "step": 3},
    )
    assert verb.run(main, ["to-huggingface", str(root), "--out", str(root / "hf")]) == 0
    return root


@pytest.fixture(scope="module")
def transformers(tmp_path_factory):
    """The library, with a directory of its own for the code that it copies, and no way out."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    patch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    yield transformers
    patch.undo()


@pytest.mark.filterwarnings("default")
def test_transformers_has_the_same_logits(folder, transformers):
    ours = load_newest(folder).model
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "hf", trust_remote_code=True)
    ids = torch.randint(0, 400, (2, 30), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, got = ours.logits(ids), theirs(ids, labels=ids)
        loss = ours(ids[:, :-1], ids[:, 1:])
    assert expected.std() > 0.1
    assert torch.allclose(got.logits, expected, atol=1e-5)
    assert got.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    drawn = theirs.generate(ids[:1, :5], max_new_tokens=6, do_sample=False, eos_token_id=399)
    whole = ids[0, :5].tolist()
    with torch.no_grad():
        for _ in range(6):
            whole.append(int(ours.logits(torch.tensor([whole]))[0, -1].argmax()))
            if whole[-1] == 399:
                break
    assert drawn[0].tolist() == whole


@pytest.fixture(scope="module")
def their_tokenizer(tmp_path_factory, tokenizer, transformers):
    root = tmp_path_factory.mktemp("one")
    model = a_model("2026-01")
    tokenizer.save(tokenizer_path(root))
    save(
        checkpoint_path(root, 3),
        model,
        {},
        {"model": plain(model.config), "tokenizer": tokenizer.hash, "step": 3},
    )
    assert verb.run(main, ["to-huggingface", str(root), "--out", str(root / "hf")]) == 0
    return transformers.AutoTokenizer.from_pretrained(root / "hf")


@settings(max_examples=300)
@given(text=st.text(max_size=60) | st.text(alphabet="ab' 0123\n\r\t's\u017f\u00e9\u0301", max_size=40))
def test_transformers_has_the_same_ids(their_tokenizer, tokenizer, text):
    if re.search("|".join(map(re.escape, SPECIAL_TOKENS)), text):
        return
    ids = their_tokenizer.encode(text)
    assert ids == tokenizer.encode(text)
    assert their_tokenizer.decode(ids) == text


def test_transformers_renders_a_conversation_alike(their_tokenizer, tokenizer):
    said = [
        Message("system", "be kind"),
        Message("user", "hi"),
        Message("assistant", "you"),
        Message("user", "?"),
    ]
    as_dicts = [one._asdict() for one in said]
    whole = their_tokenizer.apply_chat_template(as_dicts, tokenize=False)
    assert their_tokenizer.encode(whole) == render(tokenizer, said).ids
    asked = their_tokenizer.apply_chat_template(as_dicts, tokenize=False, add_generation_prompt=True)
    assert their_tokenizer.encode(asked) == render_for_reply(tokenizer, said)
    assert their_tokenizer.bos_token_id == tokenizer.bos_id


def test_a_folder_is_not_written_over(folder, capsys):
    assert verb.run(main, ["to-huggingface", str(folder), "--out", str(folder / "hf")]) == 2
    assert "nothing: choose a new directory" in capsys.readouterr().err
