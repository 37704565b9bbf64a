"""Encoding: arrays, batches, what is remembered, and special tokens that must not be there."""

import re
import sys

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rustbpe import Tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]))
# Pieces on both sides of every length at which another way is taken.
LONG_PIECES = st.lists(
    st.builds(
        lambda letters, count: (letters * count)[:count], st.text("abé", min_size=1), st.integers(1, 150)
    ),
    max_size=8,
).map(" ".join)


@settings(deadline=None)
@given(text=TEXT | LONG_PIECES, dtype=st.sampled_from(["uint16", "uint32", "int64"]))
def test_an_array_has_the_ids_of_the_list(tokenizer, text, dtype):
    ids = tokenizer.encode_to_numpy(text, dtype=dtype)
    assert ids.dtype == dtype
    assert ids.tolist() == tokenizer.encode(text)


@settings(deadline=None)
@given(text=LONG_PIECES)
def test_pieces_of_every_length_have_the_reference_ids(tokenizer, text):
    expected = reference.encode(text, tokenizer.merges, tokenizer.pattern)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected, "once it is remembered"


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXT | LONG_PIECES, max_size=20), threads=st.integers(1, 4), begin=st.booleans())
def test_a_flat_batch_holds_each_text_between_its_offsets(tokenizer, texts, threads, begin):
    ids, offsets = tokenizer.encode_batch_to_numpy(
        texts, prepend="<|bos|>" if begin else None, threads=threads, dtype="uint16"
    )
    assert (ids.dtype, offsets.dtype) == (np.uint16, np.int64)
    assert offsets.shape == (len(texts) + 1,)
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    first = [tokenizer.special_tokens["<|bos|>"]] if begin else []
    for text, start, end in zip(texts, offsets, offsets[1:], strict=False):
        assert ids[start:end].tolist() == first + tokenizer.encode(text)


def test_many_threads_share_a_large_batch_in_order(tokenizer):
    texts = [f"the cat {number} " * (number % 400) for number in range(2_000)]
    one = tokenizer.encode_batch_to_numpy(texts, prepend="<|bos|>")
    four = tokenizer.encode_batch_to_numpy(texts, prepend="<|bos|>", threads=4)
    assert all(np.array_equal(*pair) for pair in zip(one, four, strict=True))
    assert tokenizer.encode_batch(texts, threads=4) == [tokenizer.encode(text) for text in texts]


def test_what_is_prepended_is_a_special_token_or_an_id(tokenizer):
    end = tokenizer.special_tokens["<|end|>"]
    for prepend in ("<|end|>", end, np.int64(end)):
        assert tokenizer.encode_batch_to_numpy([""], prepend=prepend)[0].tolist() == [end]
    with pytest.raises(ValueError, match=r'prepend is "<b>"; it must be a special token .*"<|bos|>"'):
        tokenizer.encode_batch_to_numpy([""], prepend="<b>")
    with pytest.raises(ValueError, match=re.escape("ids must be in [0, 320)")):
        tokenizer.encode_batch_to_numpy([""], prepend=320)
    with pytest.raises(TypeError):
        tokenizer.encode_batch_to_numpy([""], prepend=1.5)


def test_arrays_can_be_written_to(tokenizer):
    ids, offsets = tokenizer.encode_batch_to_numpy(["the cat", ""])
    ids[0], offsets[0] = 7, 1


def test_no_texts_are_no_ids_and_one_offset(tokenizer):
    ids, offsets = tokenizer.encode_batch_to_numpy([], threads=3)
    assert (ids.shape, offsets.tolist()) == ((0,), [0])


def test_a_type_that_holds_no_ids_is_refused(tokenizer):
    for dtype in ("uint8", "float32", np.int32):
        with pytest.raises(ValueError, match="it must be uint16, uint32 or int64"):
            tokenizer.encode_to_numpy("x", dtype=dtype)
    with pytest.raises(TypeError):
        tokenizer.encode_to_numpy("x", dtype="nonsense")


def test_uint16_is_for_vocabularies_that_fit():
    pairs = [(left, right) for left in range(256) for right in range(256)]
    fits = Tokenizer.from_merges(pairs[: 65_536 - 256])
    assert fits.encode_to_numpy("\0\0", dtype=np.uint16).tolist() == [256]
    larger = Tokenizer.from_merges(pairs[: 65_536 - 256], special_tokens=["<end>"])
    with pytest.raises(ValueError, match="the vocabulary has 65537: use uint32"):
        larger.encode_to_numpy("x", dtype="uint16")
    assert larger.encode_to_numpy("<end>", allowed_special="all").tolist() == [65_536]


def test_short_pieces_of_many_tokens_are_exact():
    tokenizer = Tokenizer.from_merges([])
    for _ in range(2):
        assert tokenizer.encode("abcdefgh zyx") == [*b"abcdefgh zyx"]


def test_more_distinct_pieces_than_are_remembered_are_exact(tokenizer):
    short = [f" {number:x}" for number in range(200_000)]
    long = ["a" * 20 + f"{number:x}" for number in range(10_000)]
    text = "".join(short) + " ".join(long)
    ids = tokenizer.encode_to_numpy(text)
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert np.array_equal(ids, tokenizer.encode_to_numpy(text))
    sample = text[1_000_000:1_001_000]
    assert tokenizer.encode(sample) == reference.encode(sample, tokenizer.merges, tokenizer.pattern)


def test_every_character_comes_back(tokenizer):
    text = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    assert tokenizer.decode(tokenizer.encode_to_numpy(text)) == text


def test_a_disallowed_special_token_is_named_with_its_place(tokenizer):
    text = "é <|end|>"
    for call in (
        lambda: tokenizer.encode(text, disallowed_special="all"),
        lambda: tokenizer.encode(text, disallowed_special=["<|end|>"]),
        lambda: tokenizer.encode(text, allowed_special=["<|bos|>"], disallowed_special="all"),
        lambda: tokenizer.encode(text, allowed_special="all", disallowed_special=["<|end|>"]),
        lambda: tokenizer.encode_to_numpy(text, disallowed_special="all"),
        lambda: tokenizer.encode_batch(["fine", text], disallowed_special="all"),
        lambda: tokenizer.encode_batch_to_numpy(["fine", text], disallowed_special="all", threads=2),
    ):
        with pytest.raises(ValueError, match=r'has the special token "<\|end\|>" at character 2') as caught:
            call()
        assert "\n" not in str(caught.value)


def test_what_is_allowed_is_not_among_all_that_are_disallowed(tokenizer):
    end = tokenizer.special_tokens["<|end|>"]
    assert tokenizer.encode("<|end|>", allowed_special=["<|end|>"], disallowed_special="all") == [end]
    assert tokenizer.encode("<|end|>", allowed_special="all", disallowed_special="all") == [end]
    assert tokenizer.encode("<|end|>", disallowed_special=["<|bos|>"]) == tokenizer.encode("<|end|>")


def test_disallowing_an_unknown_one_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r'"<c>" is no special token .*; disallowed_special must name some'):
        tokenizer.encode("x", disallowed_special=["<c>"])
    with pytest.raises(TypeError, match="disallowed_special is one str"):
        tokenizer.encode("x", disallowed_special="<|end|>")
