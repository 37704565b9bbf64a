"""Tokenizers as tiktoken and Hugging Face write them."""

import base64
import json

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFace

from rustbpe import SPLIT_PATTERN, Tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"])) | st.text("ab '\n1é東🙂", max_size=80)


def ranks_of(tokenizer: Tokenizer) -> dict[bytes, int]:
    count = tokenizer.vocab_size - len(tokenizer.special_tokens)
    return {tokenizer.token_bytes(token): token for token in range(count)}


@pytest.fixture(scope="module")
def huggingface(tokenizer, tmp_path_factory) -> HuggingFace:
    path = tmp_path_factory.mktemp("huggingface") / "tokenizer.json"
    tokenizer.save_huggingface(path)
    return HuggingFace.from_file(str(path))


def tiktoken_ids(text: str, tokenizer: Tokenizer, ranks: dict[bytes, int]) -> list[int]:
    """What tiktoken does: a piece that is a token is it; else neighbours of lowest rank together merge."""
    ids: list[int] = []
    for piece in tokenizer.split(text):
        parts = [bytes([byte]) for byte in piece.encode()]
        if piece.encode() in ranks:
            parts = [piece.encode()]
        while len(parts) > 1:
            joined = [ranks.get(parts[at] + parts[at + 1], len(ranks)) for at in range(len(parts) - 1)]
            if min(joined) == len(ranks):
                break
            at = joined.index(min(joined))
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ids += [ranks[part] for part in parts]
    return ids


def test_the_ranks_of_a_file_make_the_same_tokenizer(tokenizer, tmp_path):
    path = tmp_path / "ranks.tiktoken"
    tokenizer.save_tiktoken(path)
    read = Tokenizer.from_tiktoken(path, special_tokens=list(tokenizer.special_tokens))
    assert read.sha256 == tokenizer.sha256
    assert Tokenizer.from_tiktoken(str(path), special_tokens=tokenizer.special_tokens).sha256 == read.sha256


def test_the_ranks_are_written_as_tiktoken_reads_them(tokenizer, tmp_path):
    path = tmp_path / "ranks.tiktoken"
    tokenizer.save_tiktoken(path)
    lines = [line.split() for line in path.read_bytes().splitlines()]
    assert {base64.b64decode(token): int(rank) for token, rank in lines} == ranks_of(tokenizer)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ranks.tiktoken"]


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXT, min_size=1), count=st.integers(0, 60), text=TEXT)
def test_the_merges_of_any_training_come_back_from_its_ranks(texts, count, text):
    trained = Tokenizer.from_merges(reference.train(texts, count, SPLIT_PATTERN))
    assert Tokenizer.from_tiktoken(ranks_of(trained)).merges == trained.merges
    assert trained.encode(text) == tiktoken_ids(text, trained, ranks_of(trained))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ranks: {**ranks, b"zz": 10_000}, "the ranks have 10000 where 318 is due"),
        (lambda ranks: {**ranks, b"zz": 300}, "the ranks have 300 where 301 is due"),
        (lambda ranks: {**ranks, b"\x00": 1, b"\x01": 0}, "the first 256 tokens are others than the bytes"),
        (lambda ranks: {}, "the first 256 tokens are others than the bytes"),
        (lambda ranks: {**ranks, b"\xff\xfe\xfd": 318}, r'token b"\\xff\\xfe\\xfd" of rank 318 is made of 3'),
        (lambda ranks: {**ranks, b"": 318}, "is made of 0"),
        (lambda ranks: {**ranks, b"zz": -1}, "a rank is -1; it must be in"),
    ],
)
def test_ranks_that_no_training_gave_are_refused(tokenizer, change, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        Tokenizer.from_tiktoken(change(ranks_of(tokenizer)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"YQ==", b"YQ== x", b"Y 1", b"\xff\xfe 1", b"YQ== 1 2", b"YQ== 99999999999999999999", b"\x80\x04K\x01."],
)
def test_a_file_of_something_else_is_refused_with_path_and_line(tmp_path, data):
    path = tmp_path / "foreign.tiktoken"
    path.write_bytes(b"YQ== 0\n" + data)
    with pytest.raises(ValueError, match=r"foreign\.tiktoken: line 2 is no token and its rank") as caught:
        Tokenizer.from_tiktoken(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.tiktoken"):
        Tokenizer.from_tiktoken(tmp_path / "absent.tiktoken")


def test_ranks_of_another_type_are_refused():
    wrong: list = [7, [b"a"], {"a": 1}, {b"a": "x"}]
    for ranks in wrong:
        with pytest.raises(TypeError):
            Tokenizer.from_tiktoken(ranks)


def test_special_tokens_with_other_ids_are_refused(tokenizer):
    ranks = ranks_of(tokenizer)
    with pytest.raises(ValueError, match=r"special_tokens has ids with gaps; they must be 318, 319"):
        Tokenizer.from_tiktoken(ranks, special_tokens={"<|end|>": 319})
    read = Tokenizer.from_tiktoken(ranks, special_tokens={"b": 319, "a": 318})
    assert read.special_tokens == {"a": 318, "b": 319}


@settings(deadline=None)
@given(text=TEXT)
def test_tokenizers_gives_the_same_ids(tokenizer, huggingface, text):
    ids = huggingface.encode(text, add_special_tokens=False).ids
    assert ids == tokenizer.encode(text, allowed_special="all")
    assert huggingface.decode(ids, skip_special_tokens=False) == text


def test_tokenizers_knows_the_special_tokens(tokenizer, huggingface):
    text = "the cat<|end|>sat"
    assert huggingface.encode(text).ids == tokenizer.encode(text, allowed_special="all")
    assert huggingface.get_vocab_size() == tokenizer.vocab_size


def test_the_file_for_tokenizers_is_json_in_one_piece(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    tokenizer.save_huggingface(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["pre_tokenizer"]["pretokenizers"][0]["pattern"] == {"Regex": SPLIT_PATTERN}
    assert len(content["model"]["merges"]) == len(tokenizer.merges)


def test_tokens_of_equal_bytes_are_written_by_save_alone(tmp_path):
    twice = Tokenizer.from_merges([(97, 98), (98, 99), (256, 99), (97, 257)])
    for save in (twice.save_tiktoken, twice.save_huggingface):
        with pytest.raises(ValueError, match=r"tokens 258 and 259 have the same bytes; .*: use save"):
            save(tmp_path / "file")
    assert not list(tmp_path.iterdir())
    twice.save(tmp_path / "file")
