from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.errors import DataError
from curtail_dist.report.audit import Gap, count_rows, gaps
from curtail_dist.report.chain import Commit


def commit(
    version: int, *ranges: tuple[int, int], site: str = "texas", begun: dict[int, int] | None = None
) -> Commit:
    left_open = [list(offset) for offset in (begun or {}).items()]
    rows = [list(span) for span in ranges]
    work = {"site": site, "tokens": 1, "steps": 1, "rows": rows, "open": left_open}
    return Commit(version=version, t=0.0, hash="", tokens=0, rows=0, work=(work,))


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


def test_rows_of_versions_that_nobody_here_tells_of_are_not_lost():
    told = [commit(1, (0, 2)), commit(4, (6, 7)), commit(5, (7, 8))]
    chain = [replace(one, rows=rows, tokens=10 * rows) for one, rows in zip(told, (2, 6, 7), strict=True)]
    count = count_rows(chain, total=8, finished=True)
    assert (count.trained, count.duplicated, count.untold, count.lost) == (4, 0, 3, 1)
    assert list(gaps(chain)) == [Gap(first=2, last=3, rows=3, tokens=39)]
    assert count_rows(chain, total=8, finished=False).lost == 0


def test_a_row_outside_of_the_run_is_refused():
    with pytest.raises(DataError, match=r"\[6, 9\).*\[0, 8\)"):
        count_rows([commit(1, (6, 9))], total=8, finished=False)


def test_a_row_begun_in_one_version_counts_in_the_one_that_finishes_it():
    chain = [commit(1, (0, 3), begun={3: 17}), commit(2, begun={3: 40}), commit(3, (3, 8))]
    assert count_rows(chain[:2], total=8, finished=False).trained == 3
    count = count_rows(chain, total=8, finished=True)
    assert (count.trained, count.duplicated, count.lost, count.duplicated_tokens) == (8, 0, 0, 0)


def test_a_row_that_stayed_open_is_lost_when_the_run_is_finished():
    chain = [commit(1, (0, 7), begun={7: 17})]
    count = count_rows(chain, total=8, finished=True)
    assert (count.trained, count.lost, count.duplicated_tokens) == (7, 1, 0)


@pytest.mark.parametrize(
    ("chain", "tokens"),
    [
        ([commit(1, begun={3: 17}), commit(2, begun={3: 11}), commit(3, (0, 8))], 11),
        ([commit(1, begun={3: 17}), commit(2, begun={3: 17}), commit(3, (0, 8))], 17),
        ([commit(1, (0, 8)), commit(2, begun={3: 5})], 5),
        ([commit(1, (0, 8), begun={3: 5})], 5),
        ([commit(1, (0, 8), begun={0: 5})], 5),
        ([commit(1, (0, 8)), commit(2, begun={7: 5})], 5),
    ],
)
def test_an_offset_that_does_not_grow_makes_duplicated_tokens_and_a_duplicated_row(chain, tokens):
    count = count_rows(chain, total=8, finished=True)
    assert (count.trained, count.duplicated, count.lost) == (7, 1, 0)
    assert count.duplicated_tokens == tokens


def test_two_sites_with_one_row_open_in_one_version_make_duplicated_tokens():
    work = tuple(commit(1, begun={5: n}, site=site).work[0] for n, site in ((4, "texas"), (9, "ohio")))
    both = Commit(version=1, t=0.0, hash="", tokens=0, rows=0, work=work)
    assert count_rows([both, commit(2, (0, 8))], total=8, finished=True).duplicated_tokens == 4


@pytest.mark.parametrize("offset", [(8, 3), (-1, 3), (4, 0)])
def test_an_open_row_that_cannot_be_is_refused(offset):
    with pytest.raises(DataError, match=r"must be at least 1 of a row in \[0, 8\)"):
        count_rows([commit(1, begun=dict([offset]))], total=8, finished=False)
