"""Writes summary.json, report.png and report.html of a run from its events."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curtail_dist.errors import DataError
from curtail_dist.report.accounts import Accounts, further_grids, reckon
from curtail_dist.report.frontier import frontier
from curtail_dist.report.history import History, build_history
from curtail_dist.report.summary import baseline_val_bpb, build_summary, write_summary
from curtail_dist.telemetry.record import read_events

if TYPE_CHECKING:
    from curtail_dist.report.losspanel import Evaluation


def summarize(run_dirs: Sequence[Path]) -> dict[str, Any]:
    """Return the summary of one run, whose events may lie in several directories, one a site.

    The first directory's config.yaml and baseline/ are taken into account. Raises DataError where the events
    are no run's, StateDiverged where members disagree on a version.
    """
    return _read(run_dirs)[0]


def write_report(
    run_dir: Path, compare: Mapping[str, Path] | None = None, *, further: Sequence[Path] = ()
) -> Path:
    """Write summary.json, report.png and report.html into `run_dir`; return the page's path.

    Args:
        run_dir: The run's directory.
        compare: Other runs by name; each directory holds events or a summary.json.
        further: Directories with events of the same run's other sites.
    """
    from curtail_dist.report.page import write_page
    from curtail_dist.report.picture import draw

    summary, history, accounts = _read([run_dir, *further])
    others = {name: _other(directory) for name, directory in (compare or {}).items()}
    write_summary(summary, run_dir)
    marks = {name: evaluated for name, (_, evaluated) in others.items()}
    picture = draw(history, accounts, run_dir / "report.png", others=marks, best=frontier(history, accounts))
    summaries = {name: other for name, (other, _) in others.items()}
    return write_page(summary, history, picture, run_dir / "report.html", compared=summaries)


def _read(run_dirs: Sequence[Path]) -> tuple[dict[str, Any], History, Accounts]:
    records = read_events(*run_dirs)
    history = build_history(records)
    accounts = reckon(history, further=further_grids(run_dirs[0], history))
    baseline = baseline_val_bpb(run_dirs[0])
    return build_summary(records, history, accounts, baseline_val_bpb=baseline), history, accounts


def _other(directory: Path) -> tuple[Mapping[str, Any], "Sequence[Evaluation]"]:
    if (directory / "events").is_dir():
        summary, history, _ = _read([directory])
        return summary, history.evaluated
    try:
        return json.loads((directory / "summary.json").read_text(encoding="utf-8")), ()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{directory} holds neither events nor a readable summary.json; give a run's directory"
        ) from error
