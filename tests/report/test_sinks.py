import subprocess
import sys
from pathlib import Path

from curtail_dist.telemetry.record import Record, read_events
from curtail_dist.telemetry.sinks import feed


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.whole = 0

    def write(self, record: Record) -> None:
        self.records.append(record)

    def cut_off(self) -> None:
        raise AssertionError("nothing here cannot be read")

    def caught_up(self) -> None:
        self.whole = len(self.records)

    def close(self) -> None:
        pass


def test_importing_its_sink_does_not_import_wandb():
    code = "import sys, curtail_dist.telemetry.wandb; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0


def test_a_sink_is_fed_its_own_sites_records_alone(day: Path):
    records = read_events(day)
    sink = Kept()
    feed(records, sink, site="texas")
    assert sink.records == [record for record in records if record.site == "texas"]
    assert sink.whole == len(sink.records)
