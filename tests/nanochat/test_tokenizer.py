import pytest

from nanochat.documents import Documents
from nanochat.tokenizer import BOS, SPECIAL_TOKENS, Tokenizer, train_tokenizer

TEXTS = ["def add(left, right):\n    return left + right\n", "naïve café, 12345 words"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300, doc_cap=10_000, max_chars=100_000)


def test_text_comes_back_as_it_was(tokenizer):
    for text in (*TEXTS[:2], "", "\u4e16\U0001f600", BOS):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_vocabulary_has_the_asked_size_with_the_specials(tokenizer):
    assert tokenizer.vocab_size == 300
    ids = [tokenizer.encode_special(name) for name in SPECIAL_TOKENS]
    assert all(len(each) == 1 for each in ids) and len({each[0] for each in ids}) == 9
    assert ids[0] == [tokenizer.bos_id]


def test_a_special_token_in_a_text_is_plain_text(tokenizer):
    assert tokenizer.bos_id not in tokenizer.encode(f"a {BOS} b")


def test_token_bytes_add_up_to_the_bytes_of_the_text_and_specials_have_none(tokenizer):
    lengths = tokenizer.token_bytes()
    for text in (*TEXTS[:2], "\u4e16\U0001f600"):
        assert sum(int(lengths[i]) for i in tokenizer.encode(text)) == len(text.encode())
    assert lengths[tokenizer.bos_id] == 0 and (lengths == 0).sum() == 9


def test_a_saved_tokenizer_loads_as_itself(tokenizer, tmp_path):
    path = tmp_path / "deep" / "tokenizer.json"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.hash == tokenizer.hash
    assert loaded.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])


def test_a_missing_tokenizer_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json is unreadable .* run nanochat\.tok_train"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_only_the_head_of_the_texts_is_read():
    def texts():
        yield "abab" * 100
        yield "cdcd" * 100
        raise AssertionError("read too far")

    train = train_tokenizer(texts(), vocab_size=266, doc_cap=50, max_chars=60)
    assert len(train.encode("ab")) == 1
    assert len(train.encode("cd")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 264}, "vocab_size is 264; it must be at least 265"),
        ({"doc_cap": 0}, "doc_cap is 0; it must be at least 1"),
        ({"max_chars": 0}, "max_chars is 0; it must be at least 1"),
    ],
)
def test_bad_training_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(TEXTS, **{"vocab_size": 300, "doc_cap": 10, "max_chars": 10, **changes})


def test_documents_are_the_texts_each_after_its_bos_and_bos_at_the_end(tokenizer):
    for texts in (TEXTS, [""], ["a", "", f"{BOS} is text"], []):
        found = tokenizer.documents(texts)
        expected = Documents.of(map(tokenizer.encode, texts), tokenizer.bos_id)
        assert found.tokens.tolist() == expected.tokens.tolist()
        assert found.starts.tolist() == expected.starts.tolist()
        assert found.sizes == [len(tokenizer.encode(text)) + 1 for text in texts]
