"""Where the time of joins goes: measured in the rank, told in the reports."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from curtail_dist.clock import SystemClock
from curtail_dist.report.build import summarize, write_report
from curtail_dist.report.joins import by_cause, cause_text
from curtail_dist.report.live import LiveView
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.joining import DECIDED_AT, JoinTimes, process_age
from curtail_dist.telemetry.record import EventLog


class Hand:
    """A clock that is moved by hand."""

    t = 100.0

    def __call__(self) -> float:
        return self.t


def test_each_stretch_goes_to_the_cause_that_is_marked_at_its_end():
    now = Hand()
    times = JoinTimes(now=now)
    for cause, t in (("import", 102.0), ("load", 103.0), ("import", 107.5)):
        now.t = t
        times.mark(cause)
    assert times.seconds == {"import": 6.5, "load": 1.0}


def test_provision_is_the_time_from_the_decision_to_the_start_of_the_process():
    now = Hand()
    times = JoinTimes.from_environment({DECIDED_AT: "1000.0"}, unix_now=1010.0, age_s=4.0, now=now)
    now.t += 1.0
    times.mark("import")
    assert times.seconds == {"provision": 6.0, "import": 5.0}


@pytest.mark.parametrize("environment", [{}, {DECIDED_AT: "soon"}])
def test_without_a_decision_provision_is_not_known(environment):
    times = JoinTimes.from_environment(environment, unix_now=1010.0, age_s=4.0)
    assert times.seconds == {}


def test_a_rank_that_its_launcher_restarted_has_nothing_to_do_with_the_decision():
    environment = {DECIDED_AT: "1000.0", "TORCHELASTIC_RESTART_COUNT": "1"}
    assert JoinTimes.from_environment(environment, unix_now=9999.0, age_s=1.0).seconds == {}
    environment["TORCHELASTIC_RESTART_COUNT"] = "0"
    assert "provision" in JoinTimes.from_environment(environment, unix_now=9999.0, age_s=1.0).seconds


def test_a_clock_that_was_set_back_makes_no_negative_time():
    times = JoinTimes.from_environment({DECIDED_AT: "1000.0"}, unix_now=990.0, age_s=None)
    assert times.seconds == {"provision": 0.0}


def test_an_unknown_cause_is_refused():
    with pytest.raises(ValueError, match="'lunch'"):
        JoinTimes().mark("lunch")


def test_a_process_knows_its_age():
    script = (
        "import time; time.sleep(0.5)\n"
        "from curtail_dist.telemetry.joining import process_age\n"
        "print(process_age())"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0.5 - 0.02 <= float(done.stdout) <= time.monotonic() - began + 0.02


def test_a_proc_that_says_nothing_of_use_is_no_age(tmp_path: Path):
    assert process_age(tmp_path) is None
    (tmp_path / "self").mkdir()
    (tmp_path / "uptime").write_text("10.0 5.0")
    ticks = os.sysconf("SC_CLK_TCK")
    fields = ["S", *["0"] * 18, str(4 * ticks), "0"]
    (tmp_path / "self" / "stat").write_text(f"1 (a ) b) {' '.join(fields)}")
    assert process_age(tmp_path) == 6.0
    fields[19] = str(40 * ticks)  # a container's uptime beside its host's start time
    (tmp_path / "self" / "stat").write_text(f"1 (a ) b) {' '.join(fields)}")
    assert process_age(tmp_path) is None


def test_the_median_of_a_cause_is_over_the_joins_that_know_it():
    joins = [{"import": 4.0, "pull": 1.0}, {}, {"import": 6.0}, {"import": 5.5}]
    assert by_cause(joins) == {"import": 5.5, "pull": 1.0}
    assert cause_text(by_cause(joins)) == "6.5 s (import 5.5 s, pull 1.0 s)"
    assert by_cause([]) == {}


def joined(directory: Path, *causes: dict[str, float]) -> None:
    with EventLog(directory, site="texas", process="rank0.9", clock=SystemClock()) as log:
        for one in causes:
            log.emit(ev.Joined(version=3, how="pulled", wall_s=4.0, causes=one))


def test_reports_tell_joins_by_cause(day: Path):
    joined(day, {"provision": 2.0, "import": 3.0}, {"provision": 4.0, "import": 3.0})
    summary = summarize([day])
    assert summary["sites"]["texas"]["join_s"] == {"provision": 3.0, "import": 3.0}
    assert summary["sites"]["california"]["join_s"] == {}
    view = LiveView(day)
    lines = view.lines(view.poll())
    assert any(
        "texas joined at version 3 (pulled) in 5.0 s (provision 2.0 s, import 3.0 s)" in line
        for line in lines
    )
    assert any(line.endswith("california joined at version 0 (founded)") for line in lines)
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(view.table())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "joins, median of 2: 6.0 s (provision 3.0 s, import 3.0 s)" in shown


def test_the_page_gives_each_sites_join_time_in_seconds(day: Path):
    joined(day, {"provision": 2.0, "import": 3.0}, {"provision": 4.0, "import": 3.0})
    table = write_report(day).read_text().partition("<h2>Sites</h2>")[2].partition("</table>")[0]
    titles = re.findall("<th>(.*?)</th>", table)
    rows = [re.findall("<td>(.*?)</td>", row) for row in table.splitlines()]
    assert {len(row) for row in rows} == {len(titles)}
    times = {row[0]: row[titles.index("join time, s")] for row in rows}
    assert times == {"california": "unknown", "south-australia": "unknown", "texas": "6.0"}
