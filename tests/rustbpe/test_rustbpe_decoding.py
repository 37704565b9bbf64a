"""Streaming decode: text as soon as its characters are whole."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rustbpe

IDS = st.lists(st.integers(0, 319), max_size=60)


@settings(deadline=None)
@given(
    ids=IDS,
    cuts=st.lists(st.integers(0, 60)),
    errors=st.sampled_from(["replace", "ignore", "backslashreplace"]),
)
def test_what_comes_bit_by_bit_is_the_text_of_all(tokenizer, ids, cuts, errors):
    decoder = tokenizer.decoder(errors=errors)
    places = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    parts = [decoder.feed(ids[start:end]) for start, end in pairwise(places)]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids, errors=errors)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_valid_text_comes_as_soon_as_its_characters_are_whole(tokenizer, text):
    decoder = tokenizer.decoder(errors="strict")
    seen = ""
    for byte in text.encode():
        seen += decoder.feed(byte)
        assert text.startswith(seen)
    assert (seen, decoder.finish()) == (text, "")


def test_a_character_is_held_back_until_it_is_whole(tokenizer):
    decoder = tokenizer.decoder()
    assert [decoder.feed(byte) for byte in "🙂".encode()] == ["", "", "", "🙂"]
    assert decoder.feed(0xF0) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""


def test_special_tokens_are_their_text(tokenizer):
    assert tokenizer.decoder().feed(tokenizer.special_tokens["<|bos|>"]) == "<|bos|>"


def test_ids_may_be_numbers_and_arrays_of_numpy(tokenizer):
    decoder = tokenizer.decoder()
    assert decoder.feed(np.array([104, 105], dtype=np.uint16)) == "hi"
    assert decoder.feed([np.int64(104)]) == "h"


def test_strict_decoding_begins_anew_after_an_error(tokenizer):
    decoder = tokenizer.decoder(errors="strict")
    assert decoder.feed(0xE6) == ""
    with pytest.raises(UnicodeDecodeError):
        decoder.feed(ord("a"))
    assert decoder.feed(ord("b")) == "b"
    decoder.feed(0xE6)
    with pytest.raises(UnicodeDecodeError):
        decoder.finish()
    assert decoder.feed(ord("c")) == "c"


def test_an_unknown_id_takes_nothing(tokenizer):
    decoder = tokenizer.decoder()
    decoder.feed(0xC3)
    with pytest.raises(ValueError, match=re.escape("ids must be in [0, 320)")):
        decoder.feed([65, 320])
    assert decoder.feed(0xA9) == "é"


def test_what_is_no_id_is_refused(tokenizer):
    for ids in (None, 1.5, "ab", [None]):
        with pytest.raises(TypeError):
            tokenizer.decoder().feed(ids)


def test_an_unknown_way_with_errors_is_refused_at_once(tokenizer):
    with pytest.raises(LookupError, match="nonsense"):
        tokenizer.decoder(errors="nonsense")


def test_decoders_are_made_by_a_tokenizer_alone():
    with pytest.raises(TypeError):
        rustbpe.Decoder()
