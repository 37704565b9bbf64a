from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.errors import DataError, StateDiverged
from curtail_dist.report.audit import Commit, commits, count_rows
from curtail_dist.telemetry.record import Record


def commit(version: int, *ranges: tuple[int, int], site: str = "texas") -> Commit:
    work = {"site": site, "tokens": 1, "steps": 1, "rows": [list(span) for span in ranges]}
    return Commit(version=version, t=0.0, hash="", tokens=0, rows=0, work=(work,))


def record(site: str, version: int, hash: str, event: str = "commit", rows: int = 4) -> Record:
    work = [{"site": "texas", "tokens": 1, "steps": 1, "rows": [[0, rows]]}]
    fields = {"version": version, "hash": hash, "tokens": 1, "rows": rows, "work": work}
    wall = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(
        event=event, site=site, epoch=1, round=1, t=1.0, wall=wall, seq=0, process="p", fields=fields
    )


def test_a_row_in_two_versions_counts_as_duplicated_and_not_as_trained():
    chain = [commit(1, (0, 6)), commit(2, (4, 8))]
    count = count_rows(chain, total=8, finished=True)
    assert (count.trained, count.duplicated, count.lost) == (6, 2, 0)


def test_a_row_that_nobody_did_is_lost_only_when_the_run_is_finished():
    chain = [commit(1, (0, 3), (5, 8))]
    assert count_rows(chain, total=8, finished=True).lost == 2
    assert count_rows(chain, total=8, finished=False).lost == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=12))
def test_the_sweep_counts_as_counting_each_row_does(spans):
    chain = [commit(version, (first, last)) for version, (first, last) in enumerate(spans)]
    covered = [sum(first <= row < last for first, last in spans) for row in range(40)]
    count = count_rows(chain, total=40, finished=True)
    assert count.trained == sum(n == 1 for n in covered)
    assert count.duplicated == sum(n > 1 for n in covered)
    assert count.lost == sum(n == 0 for n in covered)


def test_a_row_outside_of_the_run_is_refused():
    with pytest.raises(DataError, match=r"\[6, 9\).*\[0, 8\)"):
        count_rows([commit(1, (6, 9))], total=8, finished=False)


def test_a_version_that_several_members_recorded_counts_once():
    chain = commits([record("texas", 1, "aa"), record("california", 1, "aa"), record("texas", 2, "bb")])
    assert [(c.version, c.hash) for c in chain] == [(1, "aa"), (2, "bb")]


def test_two_hashes_for_one_version_are_divergence_that_names_both_sites():
    with pytest.raises(StateDiverged, match="version 1 is aa at texas and ab at california"):
        commits([record("texas", 1, "aa"), record("california", 1, "ab")])


def test_a_finish_with_another_hash_than_the_version_is_divergence():
    with pytest.raises(StateDiverged, match="texas and bb at california"):
        commits([record("texas", 1, "aa"), record("california", 1, "bb", event="run_finished")])


def test_two_accounts_of_the_work_in_one_version_are_divergence():
    with pytest.raises(StateDiverged, match="different work"):
        commits([record("texas", 1, "aa"), record("california", 1, "aa", rows=5)])
