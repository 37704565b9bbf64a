"""Ids and classes of characters are those of tiktoken, over texts made to differ."""

import sys
from typing import Any

import pytest
import tiktoken
from hypothesis import example, given, settings
from nasty import NASTY, NASTY_WITH_SURROGATES, SURROGATES

from rustbpe import SPLIT_PATTERN, Tokenizer

GPT4 = SPLIT_PATTERN.replace("{1,2}", "{1,3}")
LEARNT = [
    "'s 'll '\u017f 12 121 aaaa    \n\n\n \r\n東京東京 🙂🙂 ना ÉÉ the Don't <|bos|> \u0301\u0301 ==== ''''"
] * 3


def same(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """tiktoken with the same ranks."""
    count = tokenizer.vocab_size - len(tokenizer.special_tokens)
    ranks = {tokenizer.token_bytes(id): id for id in range(count)}
    return tiktoken.Encoding("same", pat_str=tokenizer.pattern, mergeable_ranks=ranks, special_tokens={})


def largest(pattern: str) -> Tokenizer:
    """All the merges there are in some text."""
    for vocab_size in range(420, 256, -1):
        try:
            return Tokenizer.train(LEARNT, vocab_size, pattern=pattern)
        except ValueError:
            continue
    raise AssertionError("nothing can be learnt")


PAIRS = {pattern: (largest(pattern), same(largest(pattern))) for pattern in (SPLIT_PATTERN, GPT4)}


def whole(text: str) -> str:
    """How tiktoken reads a text: surrogate pairs joined, lone ones replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("pattern", PAIRS)
@settings(deadline=None, max_examples=300)
@given(text=NASTY)
@example(text="'\u017f'S's x'\u212a")
@example(text="  \u3000\n \n\r x")
def test_ids_are_those_of_tiktoken(pattern, text):
    ours, theirs = PAIRS[pattern]
    assert ours.encode(text) == theirs.encode_ordinary(text)


@settings(deadline=None)
@given(text=NASTY_WITH_SURROGATES)
def test_a_text_with_surrogates_is_refused_and_once_cleaned_is_read_as_tiktoken_reads_it(text):
    ours, theirs = PAIRS[SPLIT_PATTERN]
    if any(lone in text for lone in SURROGATES):
        with pytest.raises(ValueError, match="lone surrogate"):
            ours.encode(text)
    assert ours.encode(whole(text)) == theirs.encode_ordinary(text)


@settings(deadline=None)
@given(text=NASTY)
def test_any_text_comes_back(text):
    ours, _ = PAIRS[SPLIT_PATTERN]
    assert ours.decode(ours.encode(text)) == text


def characters() -> str:
    return "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))


def of_class(pattern: str) -> set[str]:
    """The characters that tiktoken's pattern engine puts into a class: it skips what a pattern leaves out."""
    bytes_alone: Any = {bytes([byte]): byte for byte in range(256)}
    skipping = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=bytes_alone, special_tokens={})
    return set(bytes(skipping.encode_ordinary(characters())).decode())


@pytest.mark.slow
def test_every_code_point_is_in_the_class_that_tiktoken_puts_it_in():
    split = Tokenizer.from_merges([]).split
    letters = {one for one in characters() if len(split(f"a{one}")) == 1}
    numbers = {one for one in characters() if len(split(f"1{one}")) == 1}
    spaces = {one for one in characters() if len(split(f"!{one}")) == 2} - letters - numbers
    assert letters == of_class(r"\p{L}")
    assert numbers == of_class(r"\p{N}")
    assert spaces | set("\r\n") == of_class(r"\s")
