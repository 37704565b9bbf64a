import json
import re
import shutil
import struct
from pathlib import Path

import pytest
from metered import energies, write_metered

from curtail_dist.cli.main import main
from curtail_dist.report import write_report


def png_size(file: Path) -> tuple[int, int]:
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


@pytest.fixture(scope="module")
def reported(written_day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a whole day, beside the rest of its report."""
    return write_report(Path(shutil.copytree(written_day, tmp_path_factory.mktemp("reported") / "day")))


def test_a_report_is_a_picture_a_page_and_a_summary(reported: Path):
    assert reported.name == "report.html"
    assert png_size(reported.parent / "report.png") == (1400, 1340)
    assert json.loads((reported.parent / "summary.json").read_text())["finished"]


def test_the_page_refers_to_nothing_outside_of_itself(reported: Path):
    text = reported.read_text()
    assert "data:image/png;base64," in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in text.replace("data:image", "")


def test_the_page_says_that_the_traces_are_synthetic(reported: Path):
    assert "synthetic traces" in reported.read_text()


def test_a_compared_run_stands_beside_this_one(day: Path, write_day):
    other = write_day("other", kill=0)
    text = write_report(day, {"undisturbed <b>": other}).read_text()
    assert "undisturbed &lt;b&gt;" in text


def test_a_run_that_has_only_begun_can_be_reported(write_day):
    directory = write_day("begun", hours=0.05, kill=0)
    write_report(directory)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["commits"] == 0
    assert summary["loss"]["last"] is None


def test_the_verb_prints_where_the_page_is(day: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(day)]) == 0
    out = capsys.readouterr().out
    assert f"wrote {day / 'report.html'}" in out
    assert "15,200 of 15,200 done once, 0 lost" in out


def test_the_verb_tells_average_sci_optimum_and_what_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = write_metered(tmp_path / "run", agent=energies())
    assert main(["report", str(run)]) == 0
    out, summary = capsys.readouterr().out, json.loads((run / "summary.json").read_text())
    assert f"{summary['average_kg']:.3f} by location-based average" in out
    assert f"{summary['metered_share']:.0%} of it measured" in out
    assert (
        f"g per million tokens marginal, {summary['sci_g_per_million_tokens']['average']:.2f} average" in out
    )
    assert f"this run emits {summary['oracle_multiple']:.2f} times that" in out
    assert all(f"- {sentence}" in out for sentence in summary["not_counted"])


def test_the_verb_prints_the_summary_as_json(day: Path, write_day, capsys: pytest.CaptureFixture[str]):
    other = write_day("other", kill=0)
    assert main(["report", str(day), "--json", "--compare", f"calm={other}"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((day / "summary.json").read_text())


def test_a_directory_without_events_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "holds no events" in error


@pytest.mark.parametrize("given", ["nonsense", "=x", "name=", "name=/no/such/directory"])
def test_a_comparison_that_names_no_run_is_the_users_error(day: Path, given: str):
    assert main(["report", str(day), "--compare", given]) == 2
