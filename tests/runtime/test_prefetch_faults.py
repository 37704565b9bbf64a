import threading
import time
from contextlib import ExitStack

import fsspec
import pytest
from ahead import CHUNKS, SENT, Run, ended, make
from versions import KEYS, WAIT_S, Disk

from curtail_dist.state import snapshot


class Files(Disk):
    """Files whose reading can be held up."""

    protocol = "files"
    read = ()

    def _open(self, path, mode="rb", **options):
        if mode == "rb":
            type(self).read += (path,)
            self.reached.set()
            assert self.go_on.wait(WAIT_S)
        return super()._open(path, mode, **options)


def store_snapshot(run, url, version, record):
    """Have the run's snapshots below `url`, of Files: write one, and forget that it was opened."""
    run.url = url
    snapshot.write(url, version, record)
    Files.reached.clear()
    Files.read = ()


@pytest.fixture
def run(tmp_path):
    with ExitStack() as stack:
        yield Run(tmp_path / "run", stack)


@pytest.fixture
def files(monkeypatch):
    fsspec.register_implementation("files", Files, clobber=True)
    for name, value in (("store", {}), ("pseudo_dirs", [""]), ("read", ())):
        monkeypatch.setattr(Files, name, value)
    for name in ("reached", "go_on"):
        monkeypatch.setattr(Files, name, threading.Event())
    Files.go_on.set()
    yield "files://bucket"
    Files.go_on.set()


def test_where_the_members_do_not_give_it_the_snapshot_is_read(run):
    version, record = make(4)
    snapshot.write(run.url, version, record)
    gone, poor = run.give(version), run.give(None)
    gone.close()
    run.live(b=gone, c=poor)
    run.commit(record)
    prefetch = run.fetch()
    poor.wait_for(None)
    found, told = prefetch.take(4, record.hash)
    assert (found.hash, told) == (version.hash, record)


def test_where_a_member_falls_silent_the_snapshot_is_read(run):
    version, record = make(4)
    snapshot.write(run.url, version, record)
    line = run.line(run.give(version), allowed=CHUNKS // 2 * SENT)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch(timeout_s=0.3)
    assert line.stalled.wait(WAIT_S)
    assert prefetch.take(4, record.hash)[0].hash == version.hash


def test_where_nobody_lives_the_snapshot_is_read_and_waited_for(run, files):
    version, record = make(4)
    store_snapshot(run, files, version, record)
    Files.go_on.clear()
    run.commit(record)
    prefetch = run.fetch()
    assert Files.reached.wait(WAIT_S)
    found, told = prefetch.take(4, record.hash, progress=Files.go_on.set)
    assert (found.hash, told) == (version.hash, record)


def test_a_snapshot_that_hangs_is_not_waited_for_longer_than_a_stall(run, files):
    version, record = make(4)
    store_snapshot(run, files, version, record)
    Files.go_on.clear()
    run.commit(record)
    prefetch = run.fetch(stall_s=0.2)
    assert Files.reached.wait(WAIT_S)
    began = time.monotonic()
    assert prefetch.take(4, record.hash) is None
    assert time.monotonic() - began < WAIT_S / 2
    Files.go_on.set()
    ended()


def test_version_0_is_not_read_where_nobody_lives(run, files):
    version, record = make(0)
    store_snapshot(run, files, version, record)
    run.commit(record)
    run.fetch()
    assert not Files.reached.wait(0.5)
    assert not Files.read


def test_a_snapshot_that_cannot_be_read_is_not_read_again_and_again(run, files, monkeypatch):
    monkeypatch.setattr("curtail_dist.runtime.prefetch._RETRY_S", 0.01)
    version, record = make(4)
    store_snapshot(run, files, version, record)
    model = next(path for path in Files.store if path.endswith("model.safetensors"))
    fsspec.filesystem("files").pipe_file(model, b"torn")
    poor = run.give(None)
    run.live(b=poor)
    run.commit(record)
    prefetch = run.fetch()
    poor.wait_for(None, times=4)
    prefetch.close()
    assert Files.read.count(model) == 1


def test_where_nothing_is_to_be_had_there_is_nothing_and_no_error(run, caplog):
    record = make(4)[1]
    poor = run.give(None)
    run.live(b=poor)
    run.commit(record)
    prefetch = run.fetch()
    poor.wait_for(None)
    assert prefetch.take(4, record.hash) is None
    ended()
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@pytest.mark.parametrize("away", [False, True])
def test_without_a_run_or_a_store_there_is_nothing_and_closing_is_quick(run, away):
    run.store.away = away
    prefetch = run.fetch()
    assert prefetch.take(4, "0" * 64) is None
    began = time.monotonic()
    prefetch.close()
    assert time.monotonic() - began < 1.5
    ended()


def test_a_store_with_other_records_ends_it_quietly(run, caplog):
    run.store.put(KEYS.head, b"{}")
    prefetch = run.fetch()
    ended()
    assert "another schema" in caplog.text
    assert prefetch.take(4, "0" * 64) is None


def test_closing_does_not_wait_for_a_silent_member_and_ends_the_transfer(run, monkeypatch):
    monkeypatch.setattr("curtail_dist.runtime.prefetch._CLOSE_S", 0.1)
    version, record = make(4)
    line = run.line(run.give(version), allowed=CHUNKS // 2 * SENT)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)
    began = time.monotonic()
    prefetch.close()
    prefetch.close()
    assert time.monotonic() - began < 1.5
    assert prefetch.take(4, record.hash) is None
    line.allow(2 * SENT)
    assert line.hung_up.wait(WAIT_S), "the next chunk is the last"
    ended()
    assert line.passed < CHUNKS * SENT


def test_who_waits_is_let_go_when_it_is_stopped_and_the_transfer_ends(run):
    version, record = make(4)
    line = run.line(run.give(version), allowed=CHUNKS // 2 * SENT)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)
    assert prefetch.take(4, record.hash, progress=prefetch.stop) is None
    line.allow(2 * SENT)
    assert line.hung_up.wait(WAIT_S)
    ended()


def test_closing_without_a_start_is_no_error(run):
    prefetch = run.fetch(started=False)
    prefetch.close()
    assert prefetch.take(4, "0" * 64) is None
