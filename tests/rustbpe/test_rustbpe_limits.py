"""What is refused, and how long things may take."""

import re
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from rustbpe import Tokenizer


def test_too_little_text_says_how_many_tokens_it_makes():
    with pytest.raises(ValueError, match=r"vocab_size is 1000, .* 259 tokens only"):
        Tokenizer.train(["abc"], 1000, special_tokens=["<b>"])
    assert Tokenizer.train(["abc"], 259, special_tokens=["<b>"]).vocab_size == 259


@pytest.mark.parametrize("vocab_size", [-1, 0, 256, 2**32, 2**80, -(2**80)])
def test_a_vocabulary_out_of_range_is_refused(vocab_size):
    with pytest.raises(ValueError, match=re.escape(f"vocab_size is {vocab_size}; it must be in [")):
        Tokenizer.train(["abc"], vocab_size, special_tokens=["<b>"])


@pytest.mark.parametrize("threads", [0, -1, 1_025, 2**80])
def test_a_number_of_threads_out_of_range_is_refused(tokenizer, threads):
    with pytest.raises(ValueError, match="threads is"):
        tokenizer.encode_batch(["x"], threads=threads)


@pytest.mark.parametrize("id", [320, -1, 2**32, 2**63, 2**80, -(2**80)])
def test_an_unknown_id_is_told_the_valid_range(tokenizer, id):
    for decode in (lambda: tokenizer.decode([65, id]), lambda: tokenizer.token_bytes(id)):
        with pytest.raises(ValueError, match=re.escape(f"token id {id} is unknown; ids must be in [0, 320)")):
            decode()


@pytest.mark.parametrize("merge", [(-1, 2), (2, -1), (2**32, 0), (0, 2**80), (0, 257)])
def test_a_merge_of_what_is_no_id_is_named(merge):
    left, right = merge
    with pytest.raises(ValueError, match=f"merge 1 joins {left} and {right}; both must be "):
        Tokenizer.from_merges([(97, 98), merge])


def test_a_special_token_has_a_thousand_bytes_at_most(tmp_path):
    most = "\N{EURO SIGN}" * 333 + "x"
    tokenizer = Tokenizer.from_merges([], special_tokens=[most])
    assert tokenizer.encode(f"a{most}", allowed_special="all") == [97, 256]
    message = re.escape("has 100000 bytes; it must have at most 1000: shorten it")
    for make in (
        lambda: Tokenizer.from_merges([], special_tokens=["x" * 100_000]),
        lambda: Tokenizer.train(["abc"], 257, special_tokens=["x" * 100_000]),
        lambda: Tokenizer.from_tiktoken({bytes([i]): i for i in range(256)}, special_tokens=["x" * 100_000]),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            make()
        assert len(str(caught.value)) < 200
    tokenizer.save(tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text()
    (tmp_path / "t.json").write_text(text.replace(most, "x" * 100_000))
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(tmp_path / "t.json")


def test_the_ids_of_an_array_can_be_decoded(tokenizer):
    assert tokenizer.decode(np.array([104, 105])) == "hi"


def test_ids_that_are_no_integers_are_refused(tokenizer):
    for ids in (["a"], [1.0], None, 5):
        with pytest.raises(TypeError):
            tokenizer.decode(ids)


def test_a_cut_character_is_decoded_as_asked(tokenizer):
    assert tokenizer.decode([0xE6, 0x9D]) == "\ufffd"
    assert tokenizer.decode([0xE6, 0x41], errors="ignore") == "A"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode([0xE6], errors="strict")


def test_a_lone_surrogate_is_refused(tokenizer):
    text = "ab\ud800"
    for call in (
        lambda: tokenizer.encode(text),
        lambda: tokenizer.encode_to_numpy(text),
        lambda: tokenizer.encode_batch(["fine", text]),
        lambda: Tokenizer.train(["fine", text], 256),
        lambda: Tokenizer.train([], 256, pattern=text),
    ):
        with pytest.raises(
            ValueError, match=r"has a lone surrogate at character 2; it must be valid Unicode"
        ):
            call()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_text_without_utf8_is_named_though_others_are_encoded_meanwhile(tokenizer, threads):
    texts = ["é fine text " * 10_000] * 20
    with pytest.raises(ValueError, match=r"item 20 of texts has a lone surrogate at character 1;"):
        tokenizer.encode_batch_to_numpy([*texts, "a\ud800", *texts], threads=threads)


def test_texts_must_be_strings_in_an_iterable(tokenizer):
    mixed: list[Any] = ["a", b"b"]
    with pytest.raises(TypeError, match="texts is one str"):
        Tokenizer.train("abc", 256)
    with pytest.raises(TypeError, match="texts is one str"):
        tokenizer.encode_batch("abc")
    with pytest.raises(TypeError, match=r"item 1 of texts is of .*bytes.*; it must be a str"):
        Tokenizer.train(mixed, 256)


def test_an_error_of_the_texts_own_comes_through():
    def texts():
        yield "abc"
        raise LookupError("shard 7 is gone")

    with pytest.raises(LookupError, match="shard 7 is gone"):
        Tokenizer.train(texts(), 257)


def test_a_pattern_that_skips_text_loses_none():
    with pytest.raises(ValueError, match="matches nothing at byte 3"):
        Tokenizer.train(["one two"], 256, pattern=r"\w+")
    with pytest.raises(ValueError, match="matches nothing at byte 3"):
        Tokenizer.train([], 256, pattern=r"\w+").encode("one two")


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?P<", r"(?:[\p{L}\p{N}]{1000}){1000}", "\\p{Nonsense}"])
def test_a_pattern_that_does_not_compile_is_refused_in_one_line(pattern):
    with pytest.raises(ValueError, match="the split pattern does not compile") as caught:
        Tokenizer.train([], 256, pattern=pattern)
    assert "\n" not in str(caught.value)


def test_a_pattern_without_end_gives_up():
    tokenizer = Tokenizer.train([], 256, pattern=r"(?:(a|b)\1?)+c|(?s:.)")
    with pytest.raises(ValueError, match="gave up at byte 0"):
        tokenizer.encode("a" * 100)


def test_the_array_of_ids_can_be_written_to(tokenizer):
    ids = tokenizer.encode_to_numpy("the cat")
    assert ids.dtype == np.uint32
    assert ids.tolist() == tokenizer.encode("the cat")
    ids[0] = 7


def test_a_tokenizer_is_made_by_train_or_load_alone():
    with pytest.raises(TypeError):
        Tokenizer()


@pytest.mark.parametrize("text", [" " * 100_000, "a" * 100_000, "ab" * 50_000, "\n " * 50_000, "'" * 100_000])
def test_long_runs_take_less_than_a_second(text):
    tokenizer = Tokenizer.train(["a" * 64 + " " * 64 + "ab" * 32 + "'" * 64 + "\n " * 32], 275)
    began = time.process_time()
    ids = tokenizer.encode(text)
    assert time.process_time() - began < 1
    assert tokenizer.decode(ids) == text


def test_training_on_a_long_run_takes_less_than_a_second():
    began = time.process_time()
    tokenizer = Tokenizer.train([" " * 100_000, "ab" * 50_000], 284)
    assert time.process_time() - began < 1
    assert len(tokenizer.token_bytes(256)) == 2


def many_pieces(count: int):
    """Words that differ, enough of them to keep the merge phase busy."""
    state = 1
    for _ in range(count):
        state = state * 6364136223846793005 % 2**64
        yield format(state, "x").translate(str.maketrans("0123456789", "ghijklmnop"))


@pytest.mark.slow
def test_ctrl_c_stops_the_merge_phase_within_a_second():
    asked: list[float] = []

    def interrupt(*_):
        asked.append(time.monotonic())
        raise KeyboardInterrupt

    def texts():
        yield from many_pieces(300_000)
        # CPU time of this process, so that the signal falls into the merges however busy the machine is.
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)

    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            Tokenizer.train(texts(), 256 + 200_000)
        assert time.monotonic() - asked[0] < 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.slow
def test_other_threads_run_during_the_merge_phase():
    read, merged, turns = threading.Event(), threading.Event(), []

    def texts():
        yield from many_pieces(100_000)
        read.set()

    def other():
        read.wait(30)
        while not merged.wait(0.001):
            turns.append(None)

    thread = threading.Thread(target=other)
    thread.start()
    Tokenizer.train(texts(), 256 + 20_000)
    merged.set()
    thread.join()
    assert len(turns) > 20
