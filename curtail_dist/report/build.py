"""Writes a run's report from its events: the summary, the pictures, the page, and what a paper takes up."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from curtail_dist.errors import DataError
from curtail_dist.report.frontier import frontier
from curtail_dist.report.summary import write_summary
from curtail_dist.report.whole import Whole, read_whole

_TABLED = {"finished", "virtual_h", "tokens", "emissions_kg", "loss"}
"""What a summary.json must hold to stand in the table."""


def summarize(run_dirs: Sequence[Path]) -> dict[str, Any]:
    """Return the summary of one run, whose events may lie in several directories, one a site.

    The first directory's config.yaml and baseline/ are taken into account. Raises DataError where the events
    are no run's, StateDiverged where members disagree on a version.
    """
    return dict(read_whole(run_dirs).summary)


def write_report(
    run_dir: Path,
    compare: Mapping[str, Path] | None = None,
    *,
    further: Sequence[Path] = (),
    vectors: bool = False,
) -> Path:
    """Write the report of a run into `run_dir`; return the path of its page, report.html.

    Beside it are summary.json, the pictures report.png and courses.png, the table of runs as table.csv and
    table.tex, methods.md, and the series as series/*.csv.

    Args:
        run_dir: The run's directory.
        compare: Other runs by name; each directory holds events, or a summary.json, which is enough for the
            table and for nothing else. The run itself stands beside them under its own name.
        further: Directories with events of the same run's other sites.
        vectors: Whether to write the pictures as SVG and PDF, too, which takes some seconds.
    """
    others = {name: _other(directory) for name, directory in (compare or {}).items()}
    return _write(run_dir, read_whole([run_dir, *further]), others, vectors=vectors)


def _write(
    run_dir: Path, run: Whole, others: Mapping[str, Whole | Mapping[str, Any]], *, vectors: bool
) -> Path:
    """Whoever only summarizes imports none of what draws."""
    from curtail_dist.report.page import write_page
    from curtail_dist.report.paper.course import follow
    from curtail_dist.report.paper.figure import compose_courses
    from curtail_dist.report.paper.methods import methods, write_methods
    from curtail_dist.report.paper.runtable import table_notes, table_rows, write_tables
    from curtail_dist.report.paper.series import write_series
    from curtail_dist.report.picture import compose

    own = run.history.run if run.history.run not in others else f"{run.history.run} (this run)"
    told = {own: run, **others}
    whole = {name: one for name, one in told.items() if isinstance(one, Whole)}
    courses = follow(whole)
    rows = table_rows({n: one.summary if isinstance(one, Whole) else one for n, one in told.items()}, courses)
    paragraphs, notes = methods(run, courses), table_notes(courses)
    write_summary(run.summary, run_dir)
    figures = {
        "report": compose(
            run.history,
            run.accounts,
            others={name: one.history.evaluated for name, one in whole.items() if name != own},
            best=frontier(run.history, run.accounts),
        ),
        "courses": compose_courses(courses),
    }
    for name, figure in figures.items():
        figure.savefig(run_dir / f"{name}.png")
    if vectors:
        from curtail_dist.report.paper.vector import write_vectors

        write_vectors(run_dir, figures, title=run.history.run)
    write_series(run_dir, whole, courses)
    write_tables(run_dir, rows, notes)
    write_methods(run_dir, paragraphs)
    return write_page(run, run_dir, rows=rows, notes=notes, paragraphs=paragraphs)


def _other(directory: Path) -> Whole | Mapping[str, Any]:
    if (directory / "events").is_dir():
        return read_whole([directory])
    found: Any = None
    with suppress(OSError, ValueError):
        found = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not found.keys() >= _TABLED:
        raise DataError(
            f"{directory} holds neither events nor a readable summary.json; give a run's directory"
        )
    return found
