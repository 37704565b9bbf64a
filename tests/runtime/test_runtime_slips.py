"""Runs of one site whose script, data or device slips."""

import json
import resource
import signal

import pytest
from lab import ROWS, SEED, sorted_rows
from lengths import write_data

from curtail_dist.data.order import RowOrder

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

STEPS = 10
"""Of a round."""


def test_one_step_that_is_not_finite_costs_its_round_and_not_those_after_it(make_lab):
    lab = make_lab("nan", train={"momentum": 0.9, "nan_at": 25})
    code, out, err = (ranks := lab.start("a")).end()
    assert code == 0, err
    (discarded,) = lab.events("round_discarded", of=ranks)
    assert (discarded["steps"], discarded["reason"]) == (STEPS, "its pseudo-gradient is not finite")
    assert len(json.loads(out.splitlines()[-1])["seen"]) == ROWS + 4 * STEPS
    assert sorted_rows(lab.committed_rows())


def test_a_row_whose_loss_is_never_a_number_ends_the_site_with_an_error_and_not_never(make_lab):
    lab = make_lab("spoilt")
    row = RowOrder([ROWS], passes=1, seed=SEED).row(100)  # one of the third round's
    code, _, err = (ranks := lab.start("a", f"train.nan_row={row}")).end()
    assert code == 2, err
    assert len(lab.events("round_discarded", of=ranks)) == 3
    assert max(lab.chain()) == 2
    assert "the numbers of 3 rounds in a row on version 2 were not finite" in err


def test_rounds_whose_steps_had_no_tokens_end_with_an_error_and_not_never(make_lab):
    lab = make_lab("zero", train={"tokens": 0})
    code, _, err = (ranks := lab.start("a")).end()
    assert code != 0
    assert "the 10 steps of this round had no tokens: none of it counts" in err
    assert "neither had those of the round before; tokens weigh what a site did" in err
    assert not lab.events("commit", of=ranks)


def test_a_pack_that_gives_out_no_batch_ends_with_an_error_and_not_never(make_lab):
    lab = make_lab("none", train={"gives": "none"})
    code, _, err = (ranks := lab.start("a")).end()
    assert code == 2
    assert f"pack took {ROWS} rows of this round and gave out no batch: none of it counts" in err
    assert "nor did it in the round before" in err
    assert not lab.events("commit", of=ranks)


def test_a_pack_that_drops_what_fills_no_batch_is_told_at_the_end_of_the_rows(make_lab):
    lab = make_lab("fours", train={"gives": "fours"})
    manifest = write_data(lab.folder / "odd", 41)
    code, _, err = (ranks := lab.start("a", f"data.manifest={manifest}")).end()
    assert code == 2
    assert "pack took 1 rows of this round and gave out no batch" in err
    assert lab.events("commit", of=ranks)


def test_a_loss_and_tokens_that_are_tensors_are_recorded_as_numbers(make_lab):
    lab = make_lab("tensors", train={"says": "tensors"})
    code, _, err = (ranks := lab.start("a")).end()
    assert code == 0, err
    assert {type(record["loss"]) for record in lab.events("step", of=ranks)} == {float}
    assert max(lab.chain().items())[1]["tokens"] == ROWS


def test_a_site_whose_disk_does_not_take_its_inner_state_leaves_in_order_all_the_same(make_lab):
    lab = make_lab("leaves", train={"momentum": 0.9})
    lab.directory.mkdir()
    (lab.directory / "inner").write_text("no folder")
    lab.hold("a")
    ranks = lab.start("a")
    lab.until_held("a")
    ranks.send(signal.SIGTERM)
    lab.release(ranks)
    code, out, err = ranks.end()
    assert code == 0, err
    assert "the inner optimizer's state is not kept in" in err
    assert json.loads(out.splitlines()[-1])["version"] == 1


def test_a_disk_that_is_full_for_a_while_ends_no_rank(make_lab):
    lab = make_lab("full")
    lab.hold("a")
    ranks = lab.start("a")
    lab.until_held("a")
    resource.prlimit(ranks.pid, resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
    lab.release(ranks)
    lab.until(lambda: "events wait for" in ranks.errors, "events that wait")
    resource.prlimit(ranks.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    code, out, err = ranks.end()
    assert code == 0, err
    assert sorted_rows(json.loads(out.splitlines()[-1])["seen"])
    assert sorted_rows(lab.committed_rows())


def test_a_second_run_in_the_directory_of_one_is_refused_and_changes_nothing_there(make_lab):
    lab = make_lab("first")
    place = lab.directory / "snapshots"
    lab.hold("a")
    first = lab.start("a")
    lab.until_held("a")
    lab.until(lambda: list(place.glob("000000-*/manifest.json")), "the snapshot of version 0")
    second = make_lab("second", folder=lab.folder)
    code, _, err = second.start("b").end()
    assert code == 2
    assert "are those of run 'first'" in err
    assert "run 'second' must have a place of its own" in err
    assert list(place.glob("000000-*/manifest.json"))
    lab.release(first)
    code, _, err = first.end()
    assert code == 0, err
