"""The fast tokenizer against the plain one, over texts that hypothesis makes up."""

import sys
import unicodedata

import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import rustbpe
from rustbpe import SPLIT_PATTERN, Tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# The two pattern engines may be built for different versions of Unicode: only what both know can be compared.
KNOWN_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]))
# Few letters, so that pairs repeat; the other atoms touch each alternative of the pattern.
DENSE_TEXT = st.lists(
    st.sampled_from(
        ["a", "b", "c", "aa", "A", "é", "東", " ", "  ", "\n", "\r\n", "\t", "1", "٣", "'s", "'LL", "!", "🙂"]
    ),
    max_size=60,
).map("".join)
TEXT = DENSE_TEXT | KNOWN_TEXT
PATTERN = st.sampled_from(
    [SPLIT_PATTERN, f"(?:{SPLIT_PATTERN})", r"\S+|\s+", r"(?s:.)(?:(?! )(?s:.))*", r"(?s:.+)"]
)


def learn(texts: list[str], merges_count: int, pattern: str) -> Tokenizer:
    """As many merges as there can be, at most `merges_count`."""
    possible = len(reference.train(texts, merges_count, pattern))
    return Tokenizer.train(texts, 256 + possible, pattern=pattern)


@settings(deadline=None)
@given(texts=st.lists(TEXT, max_size=6), merges_count=st.integers(0, 40), pattern=PATTERN)
def test_training_learns_the_merges_of_the_reference(texts, merges_count, pattern):
    expected = reference.train(texts, merges_count, pattern)
    assert Tokenizer.train(texts, 256 + len(expected), pattern=pattern).merges == expected


@settings(deadline=None)
@given(texts=st.lists(TEXT, max_size=4), text=TEXT, pattern=PATTERN)
def test_encoding_gives_the_ids_of_the_reference(texts, text, pattern):
    tokenizer = learn(texts, 40, pattern)
    assert tokenizer.encode(text) == reference.encode(text, tokenizer.merges, pattern)


@settings(deadline=None)
@given(text=st.text("ab", min_size=60, max_size=200))
def test_long_pieces_get_the_ids_of_the_reference(text):
    tokenizer = learn([text[:100]], 30, SPLIT_PATTERN)
    assert tokenizer.encode(text) == reference.encode(text, tokenizer.merges, SPLIT_PATTERN)


@settings(deadline=None)
@given(text=TEXT)
def test_pieces_are_those_of_the_reference(text):
    assert Tokenizer.train([], 256).split(text) == reference.split(text, SPLIT_PATTERN)


def test_every_character_that_both_engines_know_is_split_alike():
    known = (chr(point) for point in range(sys.maxunicode + 1))
    text = "".join(f"x{c}{c}1 {c}  {c}'{c}\n" for c in known if unicodedata.category(c) not in {"Cs", "Cn"})
    assert Tokenizer.train([], 256).split(text) == reference.split(text, SPLIT_PATTERN)


@settings(deadline=None)
@given(text=ANY_TEXT | DENSE_TEXT)
def test_decoding_undoes_encoding(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


def test_decoding_undoes_encoding_for_every_character(tokenizer):
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(ANY_TEXT, max_size=20), threads=st.integers(1, 4))
def test_a_batch_gives_what_single_calls_give(tokenizer, texts, threads):
    assert tokenizer.encode_batch(texts, threads=threads) == [tokenizer.encode(text) for text in texts]


@settings(deadline=None)
@given(texts=st.permutations(["to be or not", "be to not", "a bat", "or a to", "", "not be"]))
def test_the_order_of_the_texts_does_not_matter(texts):
    assert Tokenizer.train(texts, 262).sha256 == Tokenizer.train(sorted(texts), 262).sha256


def test_the_module_exports_its_pattern():
    assert Tokenizer.train([], 256).pattern == rustbpe.SPLIT_PATTERN
    assert r"\p{N}{1,2}" in rustbpe.SPLIT_PATTERN
