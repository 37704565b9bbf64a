"""Batches of the training texts: none lost or repeated, from any place, at any number of ranks."""

from itertools import islice

import pytest
import torch

from nanochat import shards
from nanochat.documents import Documents
from nanochat.stream import Place, Share, TokenStream

SHAPE = {"batch_size": 2, "sequence_length": 8}


class Letters:
    """A whole tokenizer: a to z are 1 to 26, bos is 0."""

    bos_id = 0

    def encode(self, text):
        return [ord(c) - 96 for c in text]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


TEXTS = ["abcdefg", "", "h", "ijklmnopqrstuvwxyz" * 3, "ab", "", "cdefgh" * 5]


@pytest.fixture
def stream(tmp_path):
    path = shards.write_dataset(
        tmp_path, name="letters", source="a test", texts={"train": TEXTS, "val": ["x"]}, rows_per_shard=3
    )
    return TokenStream(shards.load(path), Letters(), **SHAPE)


def first(stream, count, place=None, share=None):
    return list(islice(stream.batches(place or Place(), share or Share()), count))


def same(one, other):
    return torch.equal(one.batch.inputs, other.batch.inputs) and torch.equal(
        one.batch.targets, other.batch.targets
    )


def test_the_batches_are_the_texts_one_after_the_other_again_and_again(stream):
    got = torch.cat([placed.batch.targets.flatten() for placed in first(stream, 20)]).tolist()
    once = [token for text in TEXTS for token in [*Letters().encode(text), 0]]
    assert len(got) > 2 * len(once)
    assert got == (once * 4)[: len(got)]


def test_from_the_place_after_any_batch_the_stream_goes_on_as_before(stream):
    whole = first(stream, 20)
    for done in range(1, 15):
        again = first(stream, 5, whole[done - 1].place)
        for one, other in zip(whole[done : done + 5], again, strict=True):
            assert same(one, other) and one.place == other.place


def test_places_count_rows_on_over_the_passes(stream):
    rows = [placed.place.row for placed in first(stream, 30)]
    assert rows == sorted(rows) and rows[-1] > 2 * len(TEXTS)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_batches_and_agree_on_the_place(stream, ranks):
    whole = first(stream, 4 * ranks)
    shares = [first(stream, 4, share=Share(rank=rank, ranks=ranks)) for rank in range(ranks)]
    for turn in range(4):
        for rank in range(ranks):
            assert same(shares[rank][turn], whole[turn * ranks + rank])
            assert shares[rank][turn].place == whole[turn * ranks + ranks - 1].place
