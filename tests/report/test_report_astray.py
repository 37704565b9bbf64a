"""The report of a run whose losses are no numbers any more."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from curtail_dist.cli.main import main


def astray(directory: Path, *, since: int, bpb: float) -> Path:
    """Let all evaluations from a version on, and all losses at texas, be no number."""
    for file in (directory / "events").glob("*.jsonl"):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record in records:
            if record["event"] == "evaluated" and record["version"] >= since:
                record["val_bpb"] = bpb
            if record["event"] == "step" and record["site"] == "texas":
                record["loss"] = math.nan
        file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return directory


@pytest.mark.parametrize("bpb", [math.nan, math.inf])
def test_a_report_of_losses_that_are_no_numbers_says_so_and_how_many(
    write_day: Callable[..., Path], bpb: float, capsys: pytest.CaptureFixture[str]
):
    run = astray(write_day("day"), since=40, bpb=bpb)
    assert main(["report", str(run), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert summary["loss"]["val_bpb"] is None, "the newest evaluation is no number, and no other is it"
    assert summary["loss"]["best_val_bpb"] < 3.0 and summary["loss"]["last"] < 5.0
    said = " ".join(summary["notes"])
    assert "texas: the loss is no finite number in 280 of its 280 events of inner steps" in said
    assert "no finite number in 4 evaluations, the newest that of version 70" in said
    assert said in " ".join((run / "report.html").read_text().replace("</li><li>", " ").split())
    with (run / "series" / "held_out.csv").open(newline="") as file:
        assert [line["version"] for line in csv.DictReader(file)] == ["10", "20", "30"]


def test_bits_per_byte_beyond_any_perplexity_are_reported(write_day: Callable[..., Path]):
    run = astray(write_day("day"), since=0, bpb=5000.0)
    assert main(["report", str(run)]) == 0
    assert json.loads((run / "summary.json").read_text())["loss"]["val_bpb"] == 5000.0
    with (run / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["best_held_out_perplexity_per_byte"] == "inf"
