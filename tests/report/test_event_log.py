"""Each process writes a file of its own, whatever it is called."""

from curtail_dist.clock import SystemClock
from curtail_dist.telemetry.events import Phase
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
