import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.data.ledger import Assignment, Ledger, count, plan
from curtail_dist.data.loader import Row
from curtail_dist.errors import ConfigError, DataError
from curtail_dist.runtime.open_round import BatchSource, OpenRound
from nanochat.documents import Documents
from nanochat.packing import pack
from nanochat.read_ahead import read_ahead

BOS = 0
WIDEST = 1000
"""More than any row here has tokens: token t of row r is r * WIDEST + t."""


class Numbered:
    """A tokenizer that gives each token of each row an id of its own; a text says its row and its length."""

    bos_id = BOS

    def encode(self, text):
        row, length = map(int, text.split())
        return [row * WIDEST + token for token in range(1, length + 1)]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


class Asked:
    """What a site is asked to do, for an OpenRound to look at."""

    def __init__(self, *, close=False, drain=False):
        self.close = close
        self.drain = drain


def open_round(assignment, asked=None):
    asked = asked or Asked()
    return OpenRound("texas", assignment, leaving=lambda: asked.drain, closing=lambda: asked.close, began=0.0)


def source_of(lengths, batch_size=1, sequence_length=4):
    def read(position, start):
        return Row(position, f"{position + 1} {lengths[position]}", start)

    return BatchSource(lambda rows: pack(rows, Numbered(), batch_size, sequence_length, "cpu"), read)


def trained_in(batches):
    """Targets by id; the bos that ends a row as minus the id of the token before it."""
    trained = Counter()
    for batch in batches:
        for before, target in zip(
            batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True
        ):
            if target != -1:
                trained[target if target != BOS else -before] += 1
    return trained


def targets_of(lengths):
    trained = Counter()
    for row, length in enumerate(lengths, start=1):
        trained.update(row * WIDEST + token for token in range(1, length + 1))
        trained[-(row * WIDEST + length) if length else 0] += 1
    return trained


def play(source, round, asked, close_after=10**6):
    """Train a round as Site does; return its batches."""
    source.begin(round)
    batches = []
    while source.has_next():
        batch = source.pop()
        batches.append(batch)
        asked.close = asked.close or len(batches) >= close_after
        round.step_done(batch.num_tokens)
    return batches


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=14),
    batch_size=st.integers(1, 3),
    sequence_length=st.integers(1, 7),
    steps=st.integers(1, 5),
    sites=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_every_target_is_in_the_chain_exactly_once_wherever_rounds_end_and_whoever_goes_on(
    lengths, batch_size, sequence_length, steps, sites, seed
):
    chance = Random(seed)
    ledger, chain, rounds, steps_done = Ledger(total=len(lengths)), Counter(), 0, 0
    sources = {site: source_of(lengths, batch_size, sequence_length) for site in "abc"[:sites]}
    while not ledger.complete:
        rounds += 1
        assert rounds < 2000, "rows are planned, and yet not done"
        here = sorted(chance.sample(sorted(sources), chance.randint(1, sites)))
        speeds = {site: chance.choice([0.5, 1.0, 2.0]) for site in here}
        mean = ledger.rows_done / steps_done if steps_done else None
        assigned = plan(ledger, here, speeds=speeds, steps=steps, rows_per_step=mean)
        finished, begun = [], []
        for site in here:
            asked = Asked(drain=chance.random() < 0.1)
            round = open_round(assigned[site], asked)
            batches = play(sources[site], round, asked, close_after=chance.randint(1, 6))
            if chance.random() < 0.3:  # it dies before the commit
                continue
            work = round.work
            finished.extend(work.rows)
            begun.extend(work.open)
            chain += trained_in(batches)
            steps_done += work.steps
            assert work.tokens == sum(batch.num_tokens for batch in batches)
            padded = [batch for batch in batches if batch.num_tokens < batch_size * sequence_length]
            assert not padded or round.rows == count(assigned[site].rows), "padding while there were rows"
        ledger = ledger.with_done(finished, begun)
    assert chain == targets_of(lengths)
    assert ledger.open == ()


def test_a_due_round_ends_inside_a_row_and_says_where():
    source, round = source_of([2, 20]), open_round(Assignment(rows=((0, 2),), steps=3))
    batches = play(source, round, Asked())
    assert [batch.num_tokens for batch in batches] == [4, 4, 4]
    # Row 0 has 3 targets, so that 9 of the 12 are row 1's.
    assert round.work.rows == ((0, 1),)
    assert round.work.open == ((1, 9),)


def test_a_row_goes_on_where_the_chain_left_it():
    source, round = source_of([2, 20]), open_round(Assignment(rows=((1, 2),), steps=9, open=((1, 9),)))
    batches = play(source, round, Asked())
    assert batches[0].inputs.flatten().tolist() == [2009, 2010, 2011, 2012]
    assert [batch.num_tokens for batch in batches] == [4, 4, 4]
    assert round.work.rows == ((1, 2),)
    assert round.work.open == ()


def test_a_row_that_ends_with_the_last_step_is_done_and_not_open():
    source, round = source_of([3, 20]), open_round(Assignment(rows=((0, 2),), steps=1))
    assert len(play(source, round, Asked())) == 1
    assert (round.work.rows, round.work.open) == (((0, 1),), ())


def test_a_request_to_close_is_granted_after_one_step():
    source, asked = source_of([40]), Asked(close=True)
    round = open_round(Assignment(rows=((0, 1),), steps=9), asked)
    assert len(play(source, round, asked)) == 1
    assert round.work.open == ((0, 4),)


def test_a_site_that_drains_takes_no_row_of_a_new_round():
    source, asked = source_of([40, 40]), Asked()
    play(source, open_round(Assignment(rows=((0, 1),), steps=2), asked), asked)
    asked.drain = True
    round = open_round(Assignment(rows=((0, 2),), steps=2, open=((0, 8),)), asked)
    assert play(source, round, asked) == []
    assert (round.rows, round.work.rows, round.work.open) == (0, (), ())


def test_a_request_that_comes_while_a_batch_is_made_does_not_cut_it_short():
    asked = Asked()
    lengths = [1] * 9

    def read(position, start):
        asked.close = asked.close or position == 2  # with one more row to come for the second batch
        return Row(position, f"{position + 1} {lengths[position]}", start)

    source = BatchSource(lambda rows: pack(rows, Numbered(), 1, 4, "cpu"), read)
    round = open_round(Assignment(rows=((0, 9),), steps=9), asked)
    source.begin(round)
    tokens = []
    while source.has_next():
        tokens.append(source.pop().num_tokens)
        round.step_done(tokens[-1])
    assert tokens == [4, 4]
    assert round.work.rows == ((0, 4),)


@dataclass
class Pile:
    """A batch that says nothing of where it ends."""

    rows: list[int]
    num_tokens: int = 1


def piles(rows):
    held = []
    for row in rows:
        held.append(row.index)
        if len(held) == 4:
            yield Pile(held)
            held = []
    if held:
        yield Pile(held)


def test_batches_that_do_not_say_where_they_end_are_flushed_at_the_rounds_end():
    source = BatchSource(piles, lambda position, start: Row(position, "", start))
    asked = Asked()
    round = open_round(Assignment(rows=((0, 100),), steps=100), asked)
    source.begin(round)
    seen = []
    while source.has_next():
        seen.extend(source.pop().rows)
        round.step_done(1)
        asked.close = len(seen) >= 8
    assert seen == list(range(8))
    assert (round.work.rows, round.work.open) == (((0, 8),), ())


def test_what_such_a_pack_holds_when_its_rows_end_is_done_with_the_round():
    asked = Asked()
    round = open_round(Assignment(rows=((0, 100),), steps=100), asked)
    rows = []

    def read(position, start):
        rows.append(position)
        asked.drain = len(rows) == 6
        return Row(position, "", start)

    source = BatchSource(piles, read)
    source.begin(round)
    seen = []
    while source.has_next():
        seen.extend(source.pop().rows)
        round.step_done(1)
    assert seen == rows == list(range(6))
    assert round.work.rows == ((0, 6),)


def test_rows_that_are_tensors_or_numbers_are_batches_too():
    source = BatchSource(iter, lambda position, _: torch.tensor(position))
    round = open_round(Assignment(rows=((3, 9),), steps=2))
    source.begin(round)
    seen = []
    while source.has_next():
        seen.append(int(source.pop()))
        round.step_done(1)
    assert seen == [3, 4]
    assert round.work.rows == ((3, 5),)


def test_an_offset_that_does_not_grow_is_refused():
    round = open_round(Assignment(rows=((5, 6),), steps=1, open=((5, 7),)))
    assert list(round.offsets()) == [(5, 7)]
    with pytest.raises(ConfigError, match="open_tokens of a batch is 7; it must be more than the 7 tokens"):
        round.leave_open(7)


def test_a_batch_taken_before_the_step_on_the_last_one_is_refused():
    source = source_of([9])
    source.begin(open_round(Assignment(rows=((0, 1),), steps=2)))
    assert source.has_next()
    source.pop()
    with pytest.raises(ConfigError, match=r"outer\.step\(\) on each"):
        source.pop()


def test_a_row_that_cannot_be_read_is_not_done_where_pack_passes_it_over():
    def read(position, start):
        if position == 4:
            raise DataError("shard 2 is corrupt")
        return Row(position, "", start)

    def pack_what_comes(rows):
        while True:
            try:
                yield Pile([next(rows).index])
            except StopIteration:
                return
            except Exception:  # noqa: BLE001 - as some scripts do, so that one row does not stop them
                continue

    source, round = BatchSource(pack_what_comes, read), open_round(Assignment(rows=((0, 9),), steps=9))
    with pytest.raises(DataError, match="shard 2 is corrupt"):
        play(source, round, Asked())


def placed_at(tokens):
    return lambda rows: (SimpleNamespace(open_tokens=tokens, num_tokens=1) for _ in rows)


@pytest.mark.parametrize("tokens", [np.int64(3), torch.tensor(3)])
def test_open_tokens_may_be_any_whole_number_and_are_recorded_as_one(tokens):
    source = BatchSource(placed_at(tokens), lambda position, start: Row(position, "", start))
    round = open_round(Assignment(rows=((0, 9),), steps=2))
    play(source, round, Asked())
    assert json.dumps(round.work.open) == "[[1, 3]]"


@pytest.mark.parametrize("tokens", [3.0, "3"])
def test_open_tokens_that_are_no_whole_number_are_refused(tokens):
    source = BatchSource(placed_at(tokens), lambda position, start: Row(position, "", start))
    with pytest.raises(ConfigError, match=r"open_tokens of a batch is '?3.*; it must be a whole number"):
        play(source, open_round(Assignment(rows=((0, 9),), steps=2)), Asked())


def test_batches_that_say_where_they_end_cannot_be_made_ahead_in_a_thread():
    lengths = [3] * 20
    with ExitStack() as until_the_end:

        def ahead(rows):
            return until_the_end.enter_context(read_ahead(pack(rows, Numbered(), 1, 4, "cpu")))

        source = BatchSource(
            ahead, lambda position, start: Row(position, f"{position + 1} {lengths[position]}")
        )
        with pytest.raises(ConfigError, match="pack takes rows in a thread of its own"):
            play(source, open_round(Assignment(rows=((0, 20),), steps=3)), Asked())


def test_batches_that_do_not_say_so_can_be():
    def ahead(rows):
        with read_ahead(piles(rows)) as batches:
            yield from batches

    source = BatchSource(ahead, lambda position, start: Row(position, "", start))
    round = open_round(Assignment(rows=((0, 50),), steps=3))
    source.begin(round)
    seen = []
    while source.has_next():
        seen.extend(source.pop().rows)
        round.step_done(1)
    assert round.work.rows == ((0, len(seen)),)
    assert seen == list(range(len(seen)))


def test_batches_that_go_backwards_in_a_row_are_refused():
    def held_back(rows):
        for _ in rows:
            yield SimpleNamespace(open_tokens=5, num_tokens=1)
            yield SimpleNamespace(open_tokens=3, num_tokens=1)

    source = BatchSource(held_back, lambda position, start: Row(position, "", start))
    with pytest.raises(ConfigError, match="open_tokens of a batch is 3; it must be more than the 5 tokens"):
        play(source, open_round(Assignment(rows=((0, 9),), steps=4)), Asked())
