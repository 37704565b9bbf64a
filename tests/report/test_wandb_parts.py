"""What a site's wandb run is made of: points of curves, numbers of records, files on the disk."""

import zlib
from datetime import UTC, datetime, timedelta

import pytest

from curtail_dist.errors import DataError
from curtail_dist.report.wandbprocess import WandbProcess
from curtail_dist.telemetry.curves import REAL_H, RUN_H, TOKENS, Curves
from curtail_dist.telemetry.numbering import Numbering
from curtail_dist.telemetry.record import Record
from curtail_dist.telemetry.wandbfiles import messages_in

START = datetime(2026, 3, 21, 17, tzinfo=UTC)


def record(event, t, *, process="rank-1", seq=0, site="texas", **fields):
    wall = START + timedelta(seconds=t / 10)
    return Record(
        event=event, site=site, epoch=1, round=1, t=t, wall=wall, seq=seq, process=process, fields=fields
    )


def commit(t, *, tokens=8000, rows=25, stall_s=1.5):
    return record("commit", t, version=1, tokens=tokens, rows=rows, bytes_sent=7, stall_s=stall_s, loss=None)


# Curves


def test_a_point_stands_beside_tokens_run_time_and_real_time():
    curves = Curves()
    assert curves.point(record("phase", 0.0, phase="train")) == {}
    assert curves.point(record("step", 3600.0, loss=2.5, tokens=1024, rows=4, steps=1)) == {
        "step/loss": 2.5,
        "step/tokens": 1024.0,
        TOKENS: 1024.0,
        RUN_H: 1.0,
        REAL_H: 0.1,
    }


def test_tokens_are_the_chains_and_the_sites_own_since_then():
    curves = Curves()
    step = {"loss": 2.5, "tokens": 100, "rows": 1, "steps": 1}
    curves.point(commit(1.0, tokens=8000))
    assert curves.point(record("step", 2.0, **step))[TOKENS] == 8100.0
    assert curves.point(record("step", 3.0, **step))[TOKENS] == 8200.0
    curves.point(record("round_discarded", 4.0, steps=2, rows=1, reason="lost"))
    assert curves.point(record("step", 5.0, **step))[TOKENS] == 8100.0
    assert curves.point(commit(6.0, tokens=9000))[TOKENS] == 9000.0


def test_a_commit_says_how_far_the_data_set_is_and_where_the_rounds_time_went():
    curves = Curves(rows=100, shards=8)
    curves.point(record("round_started", 0.0, steps=4, rows=[]))
    found = curves.point(commit(100.0, rows=25, stall_s=1.5))
    assert (found["commit/share"], found["commit/shards"]) == (0.25, 2.0)
    assert (found["round/s"], found["round/train_s"], found["round/stall_s"]) == (10.0, 8.5, 1.5)
    unknown = Curves().point(commit(100.0))
    assert not {"commit/share", "round/s"} & unknown.keys()


def test_a_join_says_where_its_time_went():
    joined = record("joined", 0.0, version=3, how="pulled", wall_s=9.0, causes={"import": 4.0, "pull": 5.0})
    found = Curves().point(joined)
    assert {name: value for name, value in found.items() if name.startswith("joined/")} == {
        "joined/s": 9.0,
        "joined/import_s": 4.0,
        "joined/pull_s": 5.0,
    }


def test_a_step_tells_its_schedule_where_the_rank_program_says_it():
    told = record("step", 0.0, loss=None, tokens=5, rows=1, steps=1, lr_factor=0.5, momentum=0.95)
    found = Curves().point(told)
    assert (found["step/lr_factor"], found["step/momentum"]) == (0.5, 0.95)
    assert not {"step/loss", "step/weight_decay"} & found.keys()


# Numbers


def numbers(found):
    return [(number, one.process, one.seq) for number, one in found]


def test_a_record_keeps_its_number_for_whoever_comes_later(tmp_path):
    file = tmp_path / "wandb" / "texas.jsonl"
    a, b, late = (record("step", t, process=p, seq=s) for t, p, s in ((1, "a", 0), (2, "b", 0), (0, "a", 1)))
    first = Numbering(file)
    assert numbers(first.numbered([a, b])) == [(0, "a", 0), (1, "b", 0)]
    again = Numbering(file)
    assert again.id == first.id
    assert numbers(again.numbered([late, a, b])) == [(0, "a", 0), (1, "b", 0), (2, "a", 1)]
    assert numbers(Numbering(file).numbered([late])) == [(2, "a", 1)]


def test_numbers_that_died_half_written_are_given_again(tmp_path):
    file = tmp_path / "texas.jsonl"
    Numbering(file).numbered([record("step", 1, seq=0)])
    with file.open("a") as stream:
        stream.write('{"process": "rank-1", "fr')
    assert numbers(Numbering(file).numbered([record("step", 2, seq=1)])) == [(1, "rank-1", 1)]
    assert numbers(Numbering(file).numbered([record("step", 2, seq=1)])) == [(1, "rank-1", 1)]


@pytest.mark.parametrize("said", ["[]\n", "{}\n", '{"id": "x"}\n{"process": "a"}\n'])
def test_a_file_that_is_no_numbering_is_refused(tmp_path, said):
    file = tmp_path / "texas.jsonl"
    file.write_text(said)
    with pytest.raises(DataError, match="is no numbering"):
        Numbering(file)


# The process


def test_a_process_that_does_not_end_in_time_is_killed(tmp_path, caplog):
    process = WandbProcess(tmp_path / "run.yaml", ["texas"], close_s=0.0)
    process.close()
    process.close()
    assert caplog.text.count("the process that feeds wandb ended with code -9") == 1


# Files


def written(messages):
    """A file as wandb writes it, which was checked against its own by test_wandb."""
    found = bytearray(b":W&B\xe1\xbe\x00")
    for message in messages:
        left, first = message, True
        while left or first:
            room = 32_768 - len(found) % 32_768
            if room < 7:
                found += bytes(room)
                continue
            piece, left = left[: room - 7], left[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not left]
            first = False
            check = zlib.crc32(bytes((kind,)) + piece)
            found += check.to_bytes(4, "little") + len(piece).to_bytes(2, "little") + bytes((kind,)) + piece
    return bytes(found)


@pytest.mark.parametrize("size", [1, 32_747, 32_748, 32_750, 32_754, 32_755, 100_000])
def test_messages_are_put_together_over_the_ends_of_blocks(size):
    messages = [b"a" * size, b"b" * 40, b"c" * size]
    assert list(messages_in(written(messages))) == messages


def test_a_torn_end_or_a_wrong_byte_ends_the_file_there():
    whole = written([b"one", b"two" * 20_000, b"three"])
    assert list(messages_in(whole[:-1])) == [b"one", b"two" * 20_000]
    assert list(messages_in(whole[:40_000])) == [b"one"]
    broken = bytearray(whole)
    broken[50_000] ^= 1
    assert list(messages_in(bytes(broken))) == [b"one"]
    assert list(messages_in(b"")) == list(messages_in(b":W&B\xe1\xbe\x00")) == []
