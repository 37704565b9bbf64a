import fcntl
import hashlib
import os
import threading

import pytest

from curtail_dist.data.obtain import Wanted, obtain
from curtail_dist.errors import DataError

BYTES = bytes(range(256)) * 40
PIECE = 1_000


class Gives:
    """A source of some bytes, that breaks off after `breaks` of them, once."""

    def __init__(self, name="here", data=BYTES, breaks=None):
        self.name = name
        self.data = data
        self.breaks = breaks
        self.starts = []

    def read(self, wanted, start):
        self.starts.append(start)
        for at in range(start, len(self.data), PIECE):
            if self.breaks is not None and at >= self.breaks:
                self.breaks = None
                raise ConnectionError("the line is cut")
            yield self.data[at : at + PIECE]


@pytest.fixture
def wanted(tmp_path):
    return Wanted(
        path=tmp_path / "data" / "0.parquet",
        file="0.parquet",
        sha256=hashlib.sha256(BYTES).hexdigest(),
        limit_bytes=20_000,
    )


def get(wanted, *sources, progress=lambda: None):
    return obtain(wanted, sources, progress=progress)


def left_behind(wanted):
    return [path.name for path in wanted.path.parent.iterdir() if not path.name.endswith(".lock")]


def test_a_file_that_is_here_is_not_asked_for(wanted):
    wanted.path.parent.mkdir()
    wanted.path.write_bytes(BYTES)
    source = Gives()
    assert get(wanted, source) is None
    assert source.starts == []


def test_a_file_comes_whole_and_leaves_no_part(wanted):
    what = get(wanted, Gives("there"))
    assert wanted.path.read_bytes() == BYTES
    assert (what.source, what.size_bytes, what.came_bytes) == ("there", len(BYTES), len(BYTES))
    assert left_behind(wanted) == ["0.parquet"]


def test_what_one_source_began_another_ends(wanted):
    broken, other = Gives(breaks=4_000), Gives("other")
    what = get(wanted, broken, other)
    assert (broken.starts, other.starts) == ([0], [4_000])
    assert wanted.path.read_bytes() == BYTES
    assert (what.source, what.came_bytes) == ("other", len(BYTES) - 4_000)


def test_what_came_before_a_crash_is_gone_on_with(wanted):
    source = Gives(breaks=4_000)
    with pytest.raises(DataError, match="the line is cut"):
        get(wanted, source)
    assert left_behind(wanted) == ["0.parquet.part"]
    get(wanted, source)
    assert source.starts == [0, 4_000]
    assert wanted.path.read_bytes() == BYTES


def test_a_wrong_beginning_does_not_spoil_what_comes_after(wanted):
    wanted.path.parent.mkdir()
    wanted.path.with_name("0.parquet.part").write_bytes(b"?" * 4_000)
    source = Gives()
    get(wanted, source)
    assert source.starts == [4_000, 0]
    assert wanted.path.read_bytes() == BYTES


def test_a_source_with_other_bytes_is_passed_over(wanted):
    liar = Gives("liar", BYTES[:-1] + b"?")
    assert get(wanted, liar, Gives("honest")).source == "honest"
    with pytest.raises(DataError, match="liar: what it gives has SHA-256"):
        get(wanted_elsewhere := replace_path(wanted), liar)
    assert left_behind(wanted_elsewhere) == []


def replace_path(wanted):
    path = wanted.path.parent / "deep" / "1.parquet"
    return Wanted(path=path, file=wanted.file, sha256=wanted.sha256, limit_bytes=wanted.limit_bytes)


def test_a_source_that_never_ends_is_cut_off(wanted):
    flood = Gives("flood", bytes(10**6))
    with pytest.raises(DataError, match="flood: it gives more than 20000 bytes"):
        get(wanted, flood)
    assert left_behind(wanted) == []


def test_a_corrupt_file_is_replaced_only_once_the_right_one_is_here(wanted):
    wanted.path.parent.mkdir()
    wanted.path.write_bytes(b"corrupt")
    with pytest.raises(DataError, match=r"has another hash than the manifest says.*nobody to ask"):
        get(wanted)
    with pytest.raises(DataError, match="the line is cut"):
        get(wanted, Gives(breaks=4_000))
    assert wanted.path.read_bytes() == b"corrupt"
    get(wanted, Gives())
    assert wanted.path.read_bytes() == BYTES


def test_nobody_to_ask_says_what_to_do(wanted):
    with pytest.raises(
        DataError,
        match=r"0\.parquet is not here .*prepare the data set again, or give the manifest a url",
    ):
        get(wanted)


def test_every_source_says_why(wanted):
    with pytest.raises(DataError, match="one: the line is cut; two: the line is cut"):
        get(wanted, Gives("one", breaks=0), Gives("two", breaks=0))


def test_work_that_is_called_off_keeps_what_has_come(wanted):
    class CalledOffError(Exception):
        pass

    pieces = []

    def progress():
        pieces.append(1)
        if len(pieces) == 4:
            raise CalledOffError

    with pytest.raises(CalledOffError):
        get(wanted, Gives(), progress=progress)
    assert wanted.path.with_name("0.parquet.part").read_bytes() == BYTES[: 4 * PIECE]


def test_two_that_want_a_file_fetch_it_once(wanted):
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Gives):
        def read(self, wanted, start):
            begun.set()
            assert go_on.wait(timeout=20)
            yield from super().read(wanted, start)

    slow, other = Slow("slow"), Gives("other")
    results = {}
    first = threading.Thread(target=lambda: results.update(first=get(wanted, slow)))
    first.start()
    assert begun.wait(timeout=20)
    waited = []

    def progress():  # the second is waiting for the first
        waited.append(1)
        go_on.set()

    assert get(wanted, other, progress=progress) is None
    first.join(timeout=20)
    assert waited and other.starts == []
    assert results["first"].source == "slow"


def test_a_holder_that_died_holds_nobody_up(wanted):
    wanted.path.parent.mkdir()
    lock = wanted.path.with_name(".0.parquet.lock")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        fcntl.flock(lock.open("w"), fcntl.LOCK_EX)
        os.write(write, b"x")
        os.close(read)
        os._exit(0)
    assert os.read(read, 1) == b"x"
    os.waitpid(child, 0)
    os.close(read), os.close(write)
    assert get(wanted, Gives()).source == "here"


def test_a_place_that_cannot_be_written_is_named(wanted, tmp_path):
    (tmp_path / "data").write_text("a file where the directory must be")
    with pytest.raises(DataError, match=r"must be a file: mend or remove it|cannot be written"):
        get(wanted, Gives())
