"""Mixtures of examples as batches: whole examples in windows, only the assistant's tokens counted."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from nanochat.conversation import Rendered
from nanochat.mixture import MixtureStream, batch_of, read_mixture, windows_of
from nanochat.model import IGNORE_INDEX
from nanochat.stream import Place, Share
from nanochat.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([Path(__file__).read_text()], vocab_size=300, doc_cap=5_000, max_chars=5_000)


def example(first, length, counted_from):
    return Rendered(list(range(first, first + length)), [i >= counted_from for i in range(length)])


EXAMPLES = [example(100 * i, 3 + i % 4, 2) for i in range(1, 12)]


def stream(**changes):
    shape = {"bos_id": 0, "batch_size": 2, "sequence_length": 8, "seed": 3}
    return MixtureStream(EXAMPLES, **{**shape, **changes})


def first(count, place=None, share=None, **changes):
    return list(islice(stream(**changes).batches(place or Place(), share or Share()), count))


def test_a_windows_targets_are_the_tokens_after_where_they_count():
    [window] = windows_of([example(100, 4, 2), example(200, 3, 1)], 8)
    batch = batch_of([window], 8, 0)
    assert batch.inputs.tolist() == [[100, 101, 102, 103, 200, 201, 202, 0]]
    assert batch.targets.tolist() == [[-1, 102, 103, -1, 201, 202, -1, -1]]
    assert batch.num_tokens == 4


def test_an_example_that_does_not_fit_begins_a_new_window_and_a_long_one_is_cut():
    windows = list(windows_of([example(100, 5, 1), example(200, 5, 1), example(300, 20, 1)], 8))
    assert [window.inputs[0] for window in windows] == [100, 200, 300]
    assert windows[2].inputs == list(range(300, 308))
    assert windows[2].targets == list(range(301, 309)), "the token after the last position counts too"
    assert [window.examples for window in windows] == [1, 1, 1]


@pytest.mark.parametrize("passes", range(1, 6))
def test_the_windows_of_some_passes_end_where_the_last_of_these_does(passes):
    windows = first(stream().windows(passes), batch_size=1)
    assert windows[-1].place.row == passes * len(EXAMPLES)


def test_a_pass_has_every_example_once_in_an_order_of_its_own():
    rows, seen = 0, []
    for placed in first(40):
        starts = [t for t in placed.batch.inputs.flatten().tolist() if t and t % 100 == 0]
        assert placed.place.row - rows == len(starts)
        rows, seen = placed.place.row, seen + starts
    count = len(EXAMPLES)
    passes = [seen[i : i + count] for i in range(0, 3 * count, count)]
    assert all(sorted(one) == sorted(e.ids[0] for e in EXAMPLES) for one in passes)
    assert passes[0] != passes[1]
    assert [p.batch.inputs.tolist() for p in first(5)] != [p.batch.inputs.tolist() for p in first(5, seed=4)]


def test_from_the_place_after_any_batch_the_stream_goes_on_as_before():
    whole = first(20)
    for done in range(1, 15):
        again = first(4, whole[done - 1].place)
        for one, other in zip(whole[done : done + 4], again, strict=True):
            assert torch.equal(one.batch.inputs, other.batch.inputs) and one.place == other.place


def test_ranks_share_the_batches_and_agree_on_the_place():
    whole = first(8)
    shares = [first(4, share=Share(rank=rank, ranks=2)) for rank in range(2)]
    for turn in range(4):
        for rank in range(2):
            assert torch.equal(shares[rank][turn].batch.targets, whole[2 * turn + rank].batch.targets)
            assert shares[rank][turn].place == whole[2 * turn + 1].place


def write_mixture(directory, **splits):
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (directory / "talk.jsonl").write_text("\n".join([json.dumps(talk)] * 3))
    (directory / "text.jsonl").write_text(json.dumps({"text": "abc"}))
    (directory / "odd.jsonl").write_text(json.dumps(talk[::-1]))
    (directory / "empty.jsonl").write_text("")
    path = directory / "mixture.yaml"
    path.write_text(json.dumps(splits))  # JSON is YAML
    return path


def test_a_mixture_takes_its_files_as_often_and_as_far_as_it_says(tmp_path, tokenizer):
    path = write_mixture(
        tmp_path,
        train=[{"file": "talk.jsonl", "times": 2, "limit": 2}, {"file": "text.jsonl"}],
        val=[{"file": "talk.jsonl", "limit": 1}],
    )
    mixture = read_mixture(path, tokenizer)
    assert len(mixture.train) == 5 and len(mixture.val) == 1
    said, text = mixture.train[0], mixture.train[-1]
    counted = [token for token, counts in zip(said.ids, said.counted, strict=True) if counts]
    assert counted == tokenizer.encode_special("hello<|assistant_end|>")
    assert text.ids == [tokenizer.bos_id, *tokenizer.encode("abc"), tokenizer.bos_id]
    assert text.counted == [False] + [True] * (len(text.ids) - 1)
    assert IGNORE_INDEX not in said.ids
    less = write_mixture(tmp_path, train=[{"file": "talk.jsonl"}])
    assert read_mixture(less, tokenizer).hash != mixture.hash


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, "it must be a mapping with train"),
        ({"train": [{"file": "talk.jsonl"}], "test": []}, "test is no key"),
        ({"train": ["talk.jsonl"]}, r"train\[1\] of mixture .* it must be a mapping with file"),
        ({"train": [{"file": "talk.jsonl", "weight": 2}]}, "weight is no key"),
        ({"train": [{"file": "talk.jsonl", "times": 0}]}, "times is 0; it must be at least 1"),
        ({"train": [{"file": "talk.jsonl", "limit": "all"}]}, "limit is 'all'; it must be at least 1"),
        ({"train": [{"file": "none.jsonl"}]}, "none.jsonl is unreadable"),
        ({"train": [{"file": "empty.jsonl"}]}, "it must be a file with an example"),
        ({"train": [{"file": "odd.jsonl"}]}, "odd.jsonl: the role of message 1 is 'assistant'"),
    ],
)
def test_a_mixture_that_is_wrong_is_refused(tmp_path, tokenizer, splits, message):
    with pytest.raises(ValueError, match=message):
        read_mixture(write_mixture(tmp_path, **splits), tokenizer)


def test_a_mixture_that_is_not_there_is_named(tmp_path, tokenizer):
    with pytest.raises(ValueError, match=r"none\.yaml is unreadable"):
        read_mixture(tmp_path / "none.yaml", tokenizer)
