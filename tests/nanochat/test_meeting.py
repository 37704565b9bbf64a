"""Where the ranks of one host meet: a new place each time, found by all, and by nobody else."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanochat.meeting import meeting_place

DEADLINE_S = 30.0
SAID = {"TORCHELASTIC_RUN_ID": "run", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The directory for temporary files, of which the ranks of this test have one of their own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name, value in SAID.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def meet(count):
    """Have `count` ranks meet, the last one first; return what each reads of what all say."""

    def rank(number):
        with meeting_place(number, count, deadline_s=DEADLINE_S) as store:
            store.set(f"said/{number}", f"by {number}")
            return [store.get(f"said/{other}").decode() for other in range(count)]

    with ThreadPoolExecutor(count) as pool:
        return list(reversed(list(pool.map(rank, reversed(range(count))))))


@pytest.mark.parametrize("count", [2, 4])
def test_all_ranks_of_a_host_find_the_same_place(count):
    assert meet(count) == [[f"by {rank}" for rank in range(count)]] * count


def test_what_ranks_left_behind_that_died_is_passed_over_and_swept_up(place):
    with meeting_place(0, 1):
        (sign,) = (path for path in place.rglob("*") if path.is_file() and not path.suffix)
    stale = sign.with_suffix(".0123")
    stale.write_bytes(b"")
    sign.write_text(str(stale))
    assert meet(2) == [["by 0", "by 1"]] * 2
    assert not stale.exists()
    assert not sign.exists(), "a sign stands that names a place where nobody meets"


def test_ranks_that_end_in_order_leave_nothing_behind(place):
    meet(2)
    assert not [path for path in place.rglob("*") if path.is_file()]


def test_two_starts_share_no_place():
    with meeting_place(0, 1) as first:
        first.set("who", "first")
    with meeting_place(0, 1) as second:
        assert not second.check(["who"])


def test_rank_0_stays_until_all_others_have_come():
    left = threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def lead():
            with meeting_place(0, 2, deadline_s=DEADLINE_S):
                pass
            left.set()

        leading = pool.submit(lead)
        assert not left.wait(0.2)
        with meeting_place(1, 2, deadline_s=DEADLINE_S):
            leading.result(DEADLINE_S)
        assert left.is_set()


def test_a_rank_whose_rank_0_never_comes_says_so():
    said = r"rank 0 has not put up .*; it must run on this host: look at its log"
    with pytest.raises(TimeoutError, match=said), meeting_place(1, 2, deadline_s=0.1):
        pass


def test_ranks_of_different_jobs_do_not_meet(monkeypatch):
    with meeting_place(0, 1):
        monkeypatch.setenv("MASTER_PORT", "29501")
        with pytest.raises(TimeoutError), meeting_place(1, 2, deadline_s=0.1):
            pass


def test_only_this_user_can_reach_the_place(place):
    meet(2)
    (folder,) = place.iterdir()
    assert folder.stat().st_mode & 0o077 == 0


def test_a_directory_that_others_can_write_is_refused(place):
    meet(2)
    (folder,) = place.iterdir()
    folder.chmod(0o777)
    said = r"a directory of user .* alone: remove it, or set TMPDIR"
    with pytest.raises(ValueError, match=said), meeting_place(0, 1):
        pass


def test_a_link_in_the_place_of_the_directory_is_refused(place):
    meet(2)
    (folder,) = place.iterdir()
    elsewhere = Path(f"{place}-elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    with pytest.raises(ValueError, match="a directory of user"), meeting_place(0, 1):
        pass
