import json
import re
import struct
from pathlib import Path

import pytest
from metered import CLEANER_LATER, energies, write_metered
from reporting import Reported

from curtail_dist.cli.main import main


def png_size(file: Path) -> tuple[int, int]:
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_a_report_is_pictures_a_page_and_a_summary(reported: Reported):
    width, height = png_size(reported.directory / "report.png")
    assert (width, height > 1000) == (1400, True)
    assert png_size(reported.directory / "courses.png")[0] == 1440
    assert reported.summary["finished"]


def test_the_page_refers_to_nothing_outside_of_itself(reported: Reported):
    text = (reported.directory / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 2
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("data:image", "")


def test_the_page_says_that_the_traces_are_synthetic(reported: Reported):
    assert "synthetic traces" in (reported.directory / "report.html").read_text()


def test_compared_runs_stand_beside_this_one_on_the_page(reported: Reported):
    text = (reported.directory / "report.html").read_text()
    assert "<td>day (this run)</td>" in text
    assert "<td>a_b &amp; 50% &lt;i&gt;, unfinished</td>" in text
    assert "<td>day</td><td>9.50</td><td>--</td><td>1.50</td>" in text


def test_a_run_that_has_only_begun_can_be_reported_and_its_summary_printed(
    write_day, capsys: pytest.CaptureFixture[str]
):
    directory = write_day("begun", hours=0.05, kill=0)
    assert main(["report", str(directory), "--json"]) == 0
    summary = json.loads((directory / "summary.json").read_text())
    assert json.loads(capsys.readouterr().out) == summary
    assert summary["commits"] == 0
    assert summary["loss"]["last"] is None
    assert (summary["gpu_hours"], summary["share_in_window"]) == (0.0, None)


def test_the_verb_prints_where_the_page_is(reported: Reported):
    assert f"wrote {reported.directory / 'report.html'}" in reported.said
    assert "8,000 of 8,000 done once, 0 lost" in reported.said


def test_the_verb_tells_average_sci_optimum_and_what_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = write_metered(tmp_path / "run", started=CLEANER_LATER, agent=energies())
    assert main(["report", str(run)]) == 0
    out, summary = capsys.readouterr().out, json.loads((run / "summary.json").read_text())
    assert f"{summary['average_kg']:.3f} by location-based average" in out
    assert f"{summary['metered_share']:.0%} of it measured" in out
    assert (
        f"g per million tokens marginal, {summary['sci_g_per_million_tokens']['average']:.2f} average" in out
    )
    assert f"this run emits {summary['oracle_multiple']:.2f} times that" in out
    assert all(f"- {sentence}" in out for sentence in summary["not_counted"])


def test_a_multiple_that_cannot_be_told_is_unknown_in_text_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = write_metered(tmp_path / "run", agent=energies())
    assert main(["report", str(run)]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("  optimum: ")]
    assert line.endswith(" kg; how many times that this run emits is unknown")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r"multiple of the optimum</t[dh]><td[^>]*>unknown<", page)


def test_a_directory_that_cannot_be_written_is_the_users_error(day: Path, capsys: pytest.CaptureFixture[str]):
    (day / "summary.json").mkdir()
    assert main(["report", str(day)]) == 2
    error = capsys.readouterr().err
    assert "summary.json cannot be used (Is a directory); a report reads a run's directories" in error
    assert error.count("\n") == 1


def test_a_disk_that_is_full_is_said(day: Path, capsys: pytest.CaptureFixture[str]):
    (day / "summary.json").symlink_to("/dev/full")
    assert main(["report", str(day)]) == 2
    said = capsys.readouterr().err
    assert f"{day} does not take the report (No space left on device)" in said and "make room" in said


def test_one_sites_directory_alone_asks_for_that_of_the_founder(
    day: Path, capsys: pytest.CaptureFixture[str]
):
    for file in (day / "events").glob("california.*"):
        file.unlink()
    assert main(["report", str(day)]) == 2
    said = capsys.readouterr().err
    assert (
        "the site that founded the run has in its own run directory; give that as well (--from DIR)" in said
    )


def test_a_directory_without_events_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds no events" in error


@pytest.mark.parametrize("given", ["nonsense", "=x", "name=", "name=/no/such/directory"])
def test_a_comparison_that_names_no_run_is_the_users_error(day: Path, given: str):
    assert main(["report", str(day), "--compare", given]) == 2


@pytest.mark.parametrize("content", ["[]", '{"loss": {}}', "{", None])
def test_a_comparison_with_what_is_no_summary_is_the_users_error(
    day: Path, tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    assert main(["report", str(day), f"--compare=x={tmp_path}"]) == 2
    assert "holds neither events nor a readable summary.json" in capsys.readouterr().err


def test_two_compared_runs_of_one_name_are_the_users_error(day: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(day), f"--compare=one={day}", f"--compare=one={day}"]) == 2
    assert "names two runs one" in capsys.readouterr().err
