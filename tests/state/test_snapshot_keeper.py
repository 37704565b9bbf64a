import threading
import uuid

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from states import make

from curtail_dist.coordination.memory import MemoryStore
from curtail_dist.errors import ConfigError, SnapshotCorrupt, SnapshotMissing, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, encode
from curtail_dist.runtime.snapshots import SnapshotKeeper
from curtail_dist.state import snapshot
from curtail_dist.telemetry.record import EventLog, read_events

KEYS = Keys("r")
WAIT_S = 20.0


class Disk(MemoryFileSystem):
    """An object store that can be full, and can be held up."""

    protocol = "disk"
    store = {}  # noqa: RUF012 - fsspec's own way
    pseudo_dirs = [""]  # noqa: RUF012
    full = False
    reached = threading.Event()
    go_on = threading.Event()

    def _open(self, path, mode="rb", **options):
        if mode == "wb":
            self.reached.set()
            assert self.go_on.wait(WAIT_S)
            if self.full:
                raise OSError("no space left on device")
        return super()._open(path, mode, **options)


@pytest.fixture
def disk(monkeypatch):
    fsspec.register_implementation("disk", Disk, clobber=True)
    for name, value in (
        ("store", {}),
        ("pseudo_dirs", [""]),
        ("full", False),
        ("reached", threading.Event()),
    ):
        monkeypatch.setattr(Disk, name, value)
    monkeypatch.setattr(Disk, "go_on", threading.Event())
    Disk.go_on.set()
    return "disk://bucket"


class Clock:
    def now(self):
        return 0.0


class Setting:
    """A run's store and one process's keeper."""

    def __init__(self, url, folder, *, keep=2):
        self.url = url
        self.folder = folder
        self.store = MemoryStore()
        self.board = Board(self.store, KEYS)
        self.events = EventLog(folder, site="a", process="p", clock=Clock())
        self.keeper = SnapshotKeeper(url, keep=keep, store=self.store, board=self.board, events=self.events)
        self.board.start()
        self.keeper.start()

    def commit(self, number, *, seed=0):
        version, record = make(number, seed=seed)
        self.store.put(KEYS.head, record.encode())
        self.board.wait(lambda view: view.head == record or None, timeout=WAIT_S)
        return version, record

    def holders(self):
        return {
            int(one.key.removeprefix(KEYS.holders)): one.value
            for one in self.store.list(KEYS.holders).entries
        }

    def kept(self):
        fs, root = fsspec.core.url_to_fs(self.url)
        return sorted(path.rpartition("/")[2] for path in fs.ls(root, detail=False))

    def close(self):
        self.keeper.close()
        self.board.close()
        self.events.close()
        self.store.close()


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


def test_a_store_that_is_away_is_told_at_the_next_commit(setting, caplog):
    version, record = setting.commit(3)

    class Away:
        """A store out of reach."""

        def put(self, key, value):
            raise StoreUnavailable("no answer")

    keeper = SnapshotKeeper(setting.url, keep=2, store=Away(), board=setting.board, events=setting.events)
    with pytest.raises(StoreUnavailable):
        keeper.make_durable(version, record)
    assert setting.holders() == {}
    setting.keeper.make_durable(version, record)
    assert list(setting.holders()) == [3]
    keeper.close()


def test_securing_needs_no_store(setting):
    version, record = make(3)
    setting.store.close()
    setting.keeper.secure(version, record)
    assert setting.keeper.load(3, record.hash).commit == record


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


def test_an_odd_url_is_refused_at_once(setting):
    with pytest.raises(ConfigError):
        SnapshotKeeper("nosuch://x", keep=2, store=setting.store, board=setting.board, events=setting.events)


def test_close_is_idempotent_also_without_a_start(setting):
    keeper = SnapshotKeeper(
        f"memory://{uuid.uuid4().hex}",
        keep=2,
        store=setting.store,
        board=setting.board,
        events=setting.events,
    )
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
