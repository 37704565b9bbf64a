"""Each process writes a file of its own, whatever it is called, and whatever its disk does."""

import json
import resource
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from curtail_dist.cli.main import main
from curtail_dist.clock import SystemClock
from curtail_dist.errors import DataError
from curtail_dist.report.incidents import incidents_of
from curtail_dist.report.tail import EventTail
from curtail_dist.telemetry.events import Phase, Trouble, TroubleOver
from curtail_dist.telemetry.record import EventLog, read_events

CLOCK = SystemClock()


def logged(folder, phase: str) -> None:
    with EventLog(folder, site="texas", process="rank-7", clock=CLOCK) as log:
        log.emit(Phase(phase=phase))


def test_processes_of_one_name_have_a_file_each_and_the_first_ones_torn_line_harms_nobody(tmp_path):
    logged(tmp_path, "join")
    with (tmp_path / "events" / "texas.rank-7.jsonl").open("a") as torn:
        torn.write('{"schema": 1, "event": "pha')  # it was killed, and its container started again
    logged(tmp_path, "train")
    logged(tmp_path, "sync")
    found = read_events(tmp_path)
    assert [(one.process, one.seq, one["phase"]) for one in found] == [
        ("rank-7", 0, "join"),
        ("rank-7.2", 0, "train"),
        ("rank-7.3", 0, "sync"),
    ]


@contextmanager
def full_at(size: int) -> Generator[None]:
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_full_disk_does_not_take_waits_until_there_is_room(tmp_path, caplog):
    with EventLog(tmp_path, site="texas", process="rank-7", clock=CLOCK) as log:
        log.emit(Phase(phase="join"))
        (file,) = (tmp_path / "events").iterdir()
        full = file.stat().st_size + 20
        with full_at(full):
            log.emit(Phase(phase="train"))
            log.emit(Phase(phase="sync"))
            assert file.stat().st_size == full  # the disk took a part of a line
            assert [one["phase"] for one in read_events(tmp_path)] == ["join"]
        log.emit(Phase(phase="off"))
        told = [json.loads(line)["phase"] for line in file.read_text().splitlines()]
    assert told == ["join", "train", "sync", "off"]
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "texas: events wait for their disk: [Errno 27] File too large" in caplog.text


def test_what_a_disk_has_not_taken_at_the_end_is_told_to_be_lost(tmp_path, caplog):
    log = EventLog(tmp_path, site="texas", process="rank-7", clock=CLOCK)
    log.emit(Phase(phase="join"))
    with full_at(10):
        log.emit(Phase(phase="train"))
        log.emit(Phase(phase="sync"))
        log.close()
        log.close()
    assert "texas: 2 events are lost: [Errno 27] File too large" in caplog.text
    assert [one["phase"] for one in read_events(tmp_path)] == ["join"]


def test_copies_of_a_file_of_events_count_once_and_the_longest_tells(tmp_path):
    first, copy = tmp_path / "first", tmp_path / "copy"
    with EventLog(first, site="texas", process="rank-7", clock=CLOCK) as log:
        log.emit(Phase(phase="join"))
        shutil.copytree(first, copy)
        log.emit(Phase(phase="train"))
    logged(tmp_path / "elsewhere", "sync")  # another host's process of the same name
    for directories in ((first, copy), (copy, first), (first, first), (first, copy, first)):
        assert [one["phase"] for one in read_events(*directories)] == ["join", "train"]
    assert [one["phase"] for one in read_events(first, copy, tmp_path / "elsewhere")] == [
        "join",
        "train",
        "sync",
    ]


def test_processes_of_two_hosts_that_are_called_alike_are_two(tmp_path):
    hosts = tmp_path / "first", tmp_path / "second"
    events = (Trouble(part="meter", reason="gone"), TroubleOver(part="meter", after_s=1.0))
    for host, event in zip(hosts, events, strict=True):
        with EventLog(host, site="texas", process="agent.1", clock=CLOCK) as log:
            log.emit(event)
    for found in (read_events(*hosts), EventTail(*hosts).poll()):
        assert len({record.process for record in found}) == 2
        assert [one.lasted_s for one in incidents_of(found)] == [None], "nobody said that this one is over"
    assert {record.process for record in read_events(hosts[0])} == {"agent.1"}


def test_a_tail_tells_of_copies_once_whichever_of_them_grows(tmp_path):
    first, copy = tmp_path / "first", tmp_path / "copy"
    tail = EventTail(first, copy)
    with EventLog(first, site="texas", process="rank-7", clock=CLOCK) as log:
        log.emit(Phase(phase="join"))
        assert [one["phase"] for one in tail.poll()] == ["join"]
        shutil.copytree(first, copy)
        assert tail.poll() == []
        log.emit(Phase(phase="train"))
        assert [one["phase"] for one in tail.poll()] == ["train"]
    log = first / "events" / "texas.rank-7.jsonl"
    grown = log.read_text() + log.read_text().splitlines()[1].replace("train", "sync") + "\n"
    (copy / "events" / "texas.rank-7.jsonl").write_text(grown)
    assert [one["phase"] for one in tail.poll()] == ["sync"]


@pytest.mark.parametrize(
    "content",
    [b"5\n", b"null\n", b'{"schema": 1, "event": "phase"}\n', b"\xff\xfe\n\n", b'{"schema": 1, "wall": 3}\n'],
)
def test_what_is_no_event_is_named_by_its_file(tmp_path, content: bytes, capsys):
    logged(tmp_path, "join")
    (tmp_path / "events" / "texas.other.jsonl").write_bytes(content)
    assert main(["report", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "events/texas.other.jsonl:1 is" in said and "event" in said
    assert said.count("\n") == 1
    with pytest.raises(DataError, match=r"events/texas\.other\.jsonl"):
        EventTail(tmp_path).poll()
