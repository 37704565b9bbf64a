import threading
import uuid

import fsspec
import pytest
from versions import IDENTITY, KEYS, WAIT_S, Disk, Setting, make

from curtail_dist.errors import ConfigError, SnapshotCorrupt, SnapshotMissing, StoreUnavailable
from curtail_dist.membership.records import Commit, encode
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state import snapshot
from curtail_dist.telemetry.record import read_events


@pytest.fixture
def disk(monkeypatch):
    fsspec.register_implementation("disk", Disk, clobber=True)
    for name, value in (
        ("store", {}),
        ("pseudo_dirs", [""]),
        ("full", False),
        ("opened", 0),
        ("reached", threading.Event()),
    ):
        monkeypatch.setattr(Disk, name, value)
    monkeypatch.setattr(Disk, "go_on", threading.Event())
    Disk.go_on.set()
    return "disk://bucket"


@pytest.fixture
def setting(tmp_path, disk):
    setting = Setting(disk, tmp_path)
    yield setting
    Disk.go_on.set()
    setting.close()


def test_durable_means_readable_and_said_so(setting):
    version, record = setting.commit(3)
    setting.keeper.make_durable(version, record)
    assert setting.board.wait(lambda view: view.durable(record) or None, timeout=WAIT_S)
    assert setting.keeper.is_readable(record)
    found = setting.keeper.load(3, record.hash)
    assert found.commit == record
    assert found.version.hash == version.hash


def test_a_second_call_writes_and_says_nothing(setting):
    version, record = setting.commit(3)
    setting.keeper.make_durable(version, record)
    revision = setting.store.get(KEYS.holder(3)).revision
    Disk.store.clear()
    setting.keeper.make_durable(version, record)
    assert setting.store.get(KEYS.holder(3)).revision == revision
    assert Disk.store == {}


def test_what_another_site_holds_is_not_written_again(setting):
    version, record = setting.commit(3)
    setting.store.put(KEYS.holder(3), encode({"hash": record.hash, "path": "elsewhere"}))
    assert setting.board.wait(lambda view: view.durable(record) or None, timeout=WAIT_S)
    setting.keeper.make_durable(version, record)
    assert Disk.store == {}
    assert not setting.keeper.is_readable(record), "it is durable, but not at our url"


def test_the_background_keeps_as_many_as_asked(setting):
    for number in range(6):
        setting.keeper.write_soon(*setting.commit(number))
        setting.keeper.make_durable(*make(number))
    setting.keeper.close()
    assert [name[:6] for name in setting.kept()] == ["000004", "000005"]
    assert sorted(setting.holders()) == [4, 5]


def test_keys_that_dead_writers_left_go_too(setting):
    for number in (0, 1, 2, 3, 7):
        setting.store.put(KEYS.holder(number), encode({"hash": "0" * 64, "path": "elsewhere"}))
    version, record = setting.commit(6)
    assert setting.board.wait(lambda view: len(view.entries) == 6 or None, timeout=WAIT_S)
    setting.keeper.write_soon(version, record)
    setting.keeper.close()
    assert sorted(setting.holders()) == [6, 7]


def test_a_snapshot_written_before_its_commit_pushes_nothing_out(setting):
    for number in (4, 5):
        setting.keeper.make_durable(*setting.commit(number))
    setting.keeper.make_durable(*make(6))
    assert [name[:6] for name in setting.kept()] == ["000004", "000005", "000006"]
    assert sorted(setting.holders()) == [4, 5, 6]


def test_a_zombie_of_a_dead_chain_deletes_nothing_of_the_living_one(setting):
    setting.keeper.make_durable(*setting.commit(4))
    setting.keeper.make_durable(*setting.commit(5))
    zombie = make(50, seed=1)
    setting.keeper.write_soon(*zombie)
    setting.keeper.close()
    assert [name[:6] for name in setting.kept()] == ["000004", "000005", "000050"]
    assert sorted(setting.holders()) == [4, 5, 50]


def test_a_zombies_old_mirror_deletes_nothing_either(setting):
    setting.keeper.make_durable(*setting.commit(50, seed=1))
    zombie = make(50, seed=1)
    setting.board.close()  # from here on its mirror stands still
    setting.store.put(KEYS.head, make(5)[1].encode())
    snapshot.write(setting.url, *make(5))
    snapshot.write(setting.url, *make(4))
    setting.keeper.write_soon(*zombie)
    setting.keeper.close()
    assert [name[:6] for name in setting.kept()] == ["000004", "000005", "000050"]


def test_a_full_disk_is_logged_and_the_next_commit_tries_again(setting, monkeypatch, caplog):
    monkeypatch.setattr(Disk, "full", True)
    version, record = setting.commit(3)
    setting.keeper.write_soon(version, record)
    assert Disk.reached.wait(WAIT_S)
    with pytest.raises(OSError, match="no space"):
        setting.keeper.make_durable(version, record)
    assert setting.holders() == {}
    monkeypatch.setattr(Disk, "full", False)
    setting.keeper.make_durable(version, record)
    assert list(setting.holders()) == [3]
    setting.keeper.write_soon(*setting.commit(4))
    setting.keeper.close()
    assert sorted(setting.holders()) == [3, 4], "the background went on after the failure"
    assert "the next commit tries again" in caplog.text


def test_a_store_that_is_away_is_told_later_and_nothing_is_written_twice(setting):
    version, record = setting.commit(3)

    class Away:
        """A store that is out of reach at first."""

        away = True

        def put(self, key, value):
            if self.away:
                raise StoreUnavailable("no answer")
            return setting.store.put(key, value)

    store = Away()
    keeper = setting.another_keeper(store=store)
    with pytest.raises(StoreUnavailable):
        keeper.make_durable(version, record)
    assert setting.holders() == {}
    assert keeper.is_readable(record)
    store.away, Disk.opened = False, 0
    keeper.make_durable(version, record)
    assert list(setting.holders()) == [3]
    assert Disk.opened == 0, "neither written again nor read to compare"
    keeper.close()


def test_a_holder_key_of_another_state_does_not_count(setting):
    other = make(3, seed=1)[1]
    setting.store.put(KEYS.holder(3), encode({"hash": other.hash, "path": "elsewhere"}))
    version, record = setting.commit(3)
    setting.board.wait(lambda view: view.durable(other) or None, timeout=WAIT_S)
    setting.keeper.make_durable(version, record)
    assert setting.keeper.load(3, record.hash).commit == record
    assert setting.board.wait(lambda view: view.durable(record) or None, timeout=WAIT_S)


def test_nobody_is_told_before_the_last_file_is_there(setting):
    version, record = setting.commit(3)
    Disk.go_on.clear()
    setting.keeper.write_soon(version, record)
    assert Disk.reached.wait(WAIT_S)
    assert setting.holders() == {}
    assert not setting.keeper.is_readable(record)
    Disk.go_on.set()
    assert setting.board.wait(lambda view: view.durable(record) or None, timeout=WAIT_S)
    assert setting.keeper.is_readable(record)


@pytest.mark.parametrize("whose", ["mine", "another process's"])
def test_a_snapshot_found_corrupt_is_durable_no_more_and_is_written_anew(setting, whose):
    version, record = setting.commit(3)
    (setting.keeper if whose == "mine" else setting.another_keeper()).make_durable(version, record)
    assert setting.board.wait(lambda view: view.durable(record) or None, timeout=WAIT_S)
    model = next(path for path in Disk.store if path.endswith("model.safetensors"))
    fsspec.filesystem("disk").pipe_file(model, b"torn")
    with pytest.raises(SnapshotCorrupt):
        setting.keeper.load(3, record.hash)
    setting.keeper.make_durable(version, record)
    assert setting.keeper.load(3, record.hash).commit == record


def test_securing_needs_no_store(setting):
    version, record = make(3)
    setting.store.close()
    setting.keeper.secure(version, record)
    assert setting.keeper.load(3, record.hash).commit == record


def test_securing_what_is_written_writes_and_reads_nothing(setting):
    version, record = setting.commit(3)
    setting.keeper.make_durable(version, record)
    Disk.opened = 0
    setting.keeper.secure(version, record)
    assert Disk.opened == 0


def test_handing_over_never_waits_and_the_newest_is_written(setting):
    Disk.go_on.clear()
    setting.keeper.write_soon(*setting.commit(1))
    assert Disk.reached.wait(WAIT_S)
    for number in (2, 3, 4):
        setting.keeper.write_soon(*setting.commit(number))
    Disk.go_on.set()
    setting.keeper.close()
    assert sorted(setting.holders().keys() - {1}) == [4], "2 and 3 were never needed"


def test_a_writer_that_is_stuck_is_an_error_of_the_disk(setting, monkeypatch):
    monkeypatch.setattr("curtail_dist.runtime.snapshots._WRITE_S", 0.05)
    Disk.go_on.clear()
    setting.keeper.write_soon(*setting.commit(1))
    assert Disk.reached.wait(WAIT_S)
    with pytest.raises(OSError, match="under way"):
        setting.keeper.make_durable(*make(2))


def test_missing_and_corrupt_are_told_apart(setting):
    version, record = setting.commit(3)
    with pytest.raises(SnapshotMissing):
        setting.keeper.load(3, record.hash)
    setting.keeper.make_durable(version, record)
    model = next(path for path in Disk.store if path.endswith("model.safetensors"))
    fsspec.filesystem("disk").pipe_file(model, b"torn")
    with pytest.raises(SnapshotCorrupt):
        setting.keeper.load(3, record.hash)
    assert setting.keeper.is_readable(record)


def test_each_snapshot_is_an_event(setting):
    version, record = setting.commit(3)
    setting.keeper.make_durable(version, record)
    setting.keeper.make_durable(version, record)
    events = [one for one in read_events(setting.folder) if one.event == "snapshot"]
    assert [(one["version"], one["hash"], one["size_bytes"]) for one in events] == [
        (3, record.hash, version.size_bytes)
    ]


@pytest.fixture(params=["disk", "folder"])
def shared(request, disk, tmp_path):
    """A run with three versions in its place."""
    setting = Setting(disk if request.param == "disk" else str(tmp_path / "snapshots"), tmp_path)
    for number in (1, 2):
        setting.keeper.make_durable(*setting.commit(number))
    yield setting
    setting.close()


def test_another_run_neither_writes_nor_removes_in_a_runs_place(shared):
    other = Setting(shared.url, shared.folder)
    before = shared.kept()
    keeper = other.another_keeper(run="another")
    try:
        with pytest.raises(
            ConfigError, match=r"are those of run 'r'.*run 'another' must have a place of its own"
        ):
            keeper.make_durable(*other.commit(9, seed=1))
        keeper.start()
        keeper.write_soon(*other.commit(10, seed=1))
        keeper.close()
        other.store.put(KEYS.holder(10), encode({"hash": make(10, seed=1)[1].hash, "path": "elsewhere"}))
        durable = other.another_keeper(run="another")
        durable.start()
        durable.write_soon(*make(10, seed=1))
        durable.close()
        assert shared.kept() == before
        with pytest.raises(ConfigError, match="are those of run 'r'"):
            keeper.newest()
    finally:
        other.close()


def test_the_runs_other_processes_share_its_place(shared):
    another = shared.another_keeper()
    another.make_durable(*shared.commit(3))
    assert [name[:6] for name in shared.kept()] == ["000001", "000002", "000003"]
    assert another.newest() == 3


def test_a_note_that_names_no_run_is_told(shared):
    filesystem, root = fsspec.core.url_to_fs(shared.url)
    filesystem.pipe_file(f"{root}/run/run.json", b"{")
    with pytest.raises(OSError, match=r"run/run\.json below .* is garbled"):
        shared.another_keeper().make_durable(*shared.commit(3))


def keeper_at(url, setting):
    shared = {"store": setting.store, "board": setting.board, "events": setting.events}
    return SnapshotKeeper(url, run="r", keep=2, identity={}, **shared)


def test_an_odd_url_is_refused_at_once(setting):
    with pytest.raises(ConfigError):
        keeper_at("nosuch://x", setting)


def test_close_is_idempotent_also_without_a_start(setting):
    keeper = keeper_at(f"memory://{uuid.uuid4().hex}", setting)
    keeper.close()
    keeper.close()
    setting.keeper.close()
    setting.keeper.close()


def test_the_record_in_a_snapshot_is_the_stored_one(setting):
    version, record = setting.commit(3)
    setting.keeper.make_durable(version, record)
    ledger = next(file for path, file in Disk.store.items() if path.endswith("ledger.json"))
    assert Commit.decode(ledger.getvalue()) == record
    assert ledger.getvalue() == setting.store.get(KEYS.head).value


def test_a_snapshot_is_enough_to_know_what_was_trained(setting):
    version, record = setting.commit(3)
    assert setting.keeper.newest() == 0
    setting.keeper.make_durable(version, record)
    assert snapshot.newest(setting.url).identity == IDENTITY
    assert setting.keeper.newest() == 3
