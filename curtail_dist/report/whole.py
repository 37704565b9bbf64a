"""A run read whole: its records, and the history, the accounts and the summary that they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curtail_dist.report.accounts import Accounts, further_grids, reckon
from curtail_dist.report.history import History, build_history
from curtail_dist.report.summary import baseline_val_bpb, build_summary
from curtail_dist.report.totals import ranks_by_site
from curtail_dist.telemetry.record import Record, read_events


@dataclass(frozen=True, kw_only=True)
class Whole:
    """One run."""

    records: Sequence[Record]
    """Sorted as `read_events` sorts them."""
    history: History
    accounts: Accounts
    summary: Mapping[str, Any]
    """What summary.json holds."""


def read_whole(run_dirs: Sequence[Path]) -> Whole:
    """Read one run, whose events may lie in several directories, one a site.

    The first directory's config.yaml and baseline/ are taken into account. Raises DataError where the events
    are no run's, StateDiverged where members disagree on a version.
    """
    records = read_events(*run_dirs)
    history = build_history(records)
    accounts = reckon(history, further=further_grids(run_dirs[0], history))
    summary = build_summary(
        records,
        history,
        accounts,
        baseline_val_bpb=baseline_val_bpb(run_dirs[0]),
        ranks=ranks_by_site(run_dirs[0]),
    )
    return Whole(records=records, history=history, accounts=accounts, summary=summary)
