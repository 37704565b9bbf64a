"""Training: threads change nothing, progress is told, and whatever stops it is what comes out."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rustbpe import SPLIT_PATTERN, Tokenizer

WORDS = st.lists(st.sampled_from(["ab", "aab", "ba", " a", "aaaa", "\n", "1", "'s", "é", "🙂"]), max_size=40)
TEXTS = st.lists(WORDS.map("".join), max_size=8)
GPT4_PATTERNS = [
    SPLIT_PATTERN.replace("{1,2}", "{1,3}"),
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
]


def numbered(count: int) -> Iterator[str]:
    """Texts that differ, of some megabytes where `count` is 100,000."""
    return (f"text number {number} of {count}\n  it's {number * number:x}.\n" for number in range(count))


def test_threads_change_nothing_about_what_is_learnt():
    one = Tokenizer.train(numbered(100_000), 2_000, threads=1)
    for threads in (2, 3, 7, None):
        assert Tokenizer.train(numbered(100_000), 2_000, threads=threads).sha256 == one.sha256


def test_one_long_text_gives_what_its_lines_give():
    lines = list(numbered(100_000))
    joined = Tokenizer.train(["".join(lines)], 1_000, threads=3)
    assert joined.sha256 == Tokenizer.train(lines, 1_000, threads=1).sha256


@settings(deadline=None)
@given(texts=TEXTS, repeats=st.integers(1, 3), threads=st.integers(1, 3))
def test_dense_texts_give_the_merges_of_the_reference(texts, repeats, threads):
    expected = reference.train(texts * repeats, 30, SPLIT_PATTERN)
    tokenizer = Tokenizer.train(texts * repeats, 256 + len(expected), threads=threads)
    assert tokenizer.merges == expected


@pytest.mark.parametrize("pattern", GPT4_PATTERNS)
def test_gpt4s_own_pattern_is_cut_as_the_regex_cuts(pattern):
    text = "".join(numbered(100)) + "12345 don't  \n\n\tx = 'Twas !!\r\n 1٣٣٣٣"
    assert Tokenizer.train([], 256, pattern=pattern).split(text) == reference.split(text, pattern)


def test_progress_tells_bytes_then_merges_and_ends_with_all():
    told: list[tuple[str, int, int | None]] = []
    texts = list(numbered(50_000))
    Tokenizer.train(texts, 1_256, threads=2, progress=lambda *state: told.append(state))
    counted = [done for phase, done, total in told if phase == "count" and total is None]
    merged = [done for phase, done, total in told if phase == "merge" and total == 1_000]
    assert len(counted) + len(merged) == len(told)
    assert [phase for phase, _, _ in told] == ["count"] * len(counted) + ["merge"] * len(merged)
    assert counted == sorted(counted)
    assert counted[-1] == sum(len(text) for text in texts)
    assert merged == sorted(merged)
    assert merged[-1] == 1_000


@pytest.mark.parametrize("phase", ["count", "merge"])
def test_what_progress_raises_ends_the_training(phase):
    def progress(now: str, done: int, total: int | None) -> None:
        if now == phase:
            raise LookupError(f"enough of {now}")

    with pytest.raises(LookupError, match=f"enough of {phase}"):
        Tokenizer.train(numbered(20_000), 500, threads=2, progress=progress)


def test_progress_that_cannot_be_called_is_a_type_error():
    with pytest.raises(TypeError, match="not callable"):
        Tokenizer.train(["abc"], 257, progress=5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("threads", [0, -1, 1_025, 2**80])
def test_a_number_of_threads_out_of_range_is_refused(threads):
    with pytest.raises(ValueError, match="threads is"):
        Tokenizer.train(["abc"], 257, threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_the_texts_own_ends_all_threads(threads):
    def texts() -> Iterator[str]:
        yield from numbered(100_000)
        raise LookupError("shard 7 is gone")

    before = set(Path("/proc/self/task").iterdir())
    with pytest.raises(LookupError, match="shard 7 is gone"):
        Tokenizer.train(texts(), 300, threads=threads)
    assert set(Path("/proc/self/task").iterdir()) <= before


@pytest.mark.parametrize("threads", [1, 4])
def test_a_gap_in_the_pattern_is_an_error_whichever_thread_finds_it(threads):
    texts = ["onetwo"] * 500_000
    texts[250_000] = "one two"
    with pytest.raises(ValueError, match=r"matches nothing at byte 3 \(\" two\"\)"):
        Tokenizer.train(texts, 256, pattern=r"\w+", threads=threads)


@pytest.mark.parametrize("phase", ["count", "merge"])
def test_a_signal_ends_the_training_in_either_phase(phase):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def progress(now: str, done: int, total: int | None) -> None:
        if now == phase:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            Tokenizer.train(numbered(50_000), 2_000, threads=2, progress=progress)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_texts_without_end_that_no_python_code_makes():
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            Tokenizer.train(iter(str, "no text is this"), 300, threads=2)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_a_piece_without_end_takes_no_quadratic_time():
    # Whole texts as pieces: a merge that looked at all of a piece would look at 10^10 tokens.
    text = "".join(numbered(30_000))
    tokenizer = Tokenizer.train([text], 10_256, pattern=r"(?s:.+)")
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text[:1_000]))) == text[:1_000].encode()
