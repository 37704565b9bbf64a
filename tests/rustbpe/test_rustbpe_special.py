"""Special tokens: one id where allowed, ordinary text elsewhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustbpe import Tokenizer


def with_special(*names: str) -> Tokenizer:
    return Tokenizer.train(["some text to merge, some text"], 262 + len(names), special_tokens=names)


def test_special_tokens_take_the_last_ids_in_their_order():
    assert with_special("<b>", "<a>").special_tokens == {"<b>": 262, "<a>": 263}


def test_a_special_string_is_ordinary_text_unless_allowed():
    tokenizer = with_special("<b>", "<a>")
    ids = tokenizer.encode("x<b>y<a>")
    assert max(ids) < 262
    assert tokenizer.decode(ids) == "x<b>y<a>"


def test_allowed_ones_become_one_id_each():
    tokenizer = with_special("<b>", "<a>")
    assert tokenizer.encode("<b>y<a>", allowed_special="all") == [262, ord("y"), 263]
    assert tokenizer.encode("<b>y<a>", allowed_special={"<a>"}) == [*b"<b>y", 263]
    assert tokenizer.encode_batch(["<b>"], allowed_special=["<b>"]) == [[262]]
    assert tokenizer.encode_to_numpy("<b>", allowed_special="all").tolist() == [262]


def test_the_longest_of_those_that_begin_together_is_taken():
    assert with_special("<a>", "<a>!").encode("<a>!<a>", allowed_special="all") == [263, 262]


def test_one_that_is_not_allowed_hides_no_other():
    assert with_special("<a><b>", "<b>").encode("<a><b>", allowed_special={"<b>"}) == [*b"<a>", 263]


def test_all_may_be_a_special_token_too():
    tokenizer = with_special("all", "x")
    assert tokenizer.encode("all x", allowed_special=["all"])[0] == 262
    assert tokenizer.encode("x", allowed_special=["all"]) == [ord("x")]


def test_all_of_none_is_ordinary_text():
    assert Tokenizer.train([], 256).encode("hi", allowed_special="all") == [*b"hi"]


@settings(deadline=None)
@given(parts=st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["<b>", "<a>"])))
def test_text_between_special_tokens_is_encoded_as_if_alone(parts):
    tokenizer = with_special("<b>", "<a>")
    text = "".join(parts)
    ids = tokenizer.encode(text, allowed_special="all")
    assert tokenizer.decode(ids) == text
    expected: list[int] = []
    for number, after_b in enumerate(text.split("<b>")):
        expected += [262] * (number > 0)
        for inner, plain in enumerate(after_b.split("<a>")):
            expected += [263] * (inner > 0) + tokenizer.encode(plain)
    assert ids == expected


@pytest.mark.parametrize(
    ("names", "reason"), [(["a", "a"], "twice"), ([""], "empty"), (["\ud800"], "lone surrogate")]
)
def test_unusable_special_tokens_are_refused(names, reason):
    with pytest.raises(ValueError, match=reason):
        Tokenizer.train([], 300, special_tokens=names)


def test_allowing_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match=r'"<c>" is no special token of this tokenizer; .*"<b>", "<a>"'):
        with_special("<b>", "<a>").encode("x", allowed_special=["<c>"])


def test_one_string_is_no_collection_of_special_tokens():
    with pytest.raises(TypeError, match="allowed_special is one str"):
        with_special("<b>").encode("x", allowed_special="<b>")
    with pytest.raises(TypeError, match="special_tokens is one str"):
        Tokenizer.train([], 300, special_tokens="<b>")
