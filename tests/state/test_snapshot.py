import json
import logging
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
import torch
from states import Files, commit_of, make, numbers

from curtail_dist.errors import ConfigError, SnapshotCorrupt, SnapshotMissing, StateDiverged
from curtail_dist.state import snapshot
from curtail_dist.state.places import newest_number
from curtail_dist.state.version import Version

VERSION, COMMIT = make(7)


def test_what_is_read_has_the_bytes_and_the_record_that_were_written(url):
    snapshot.write(url, VERSION, COMMIT)
    found = snapshot.read(url, 7, VERSION.hash)
    assert found.version.number == 7
    assert found.version.hash == VERSION.hash
    assert found.commit == COMMIT
    assert found.commit.encode() == COMMIT.encode()
    assert snapshot.readable(url, 7, VERSION.hash)


def test_a_version_without_outer_state_is_kept_too(url):
    version = Version(number=0, tensors={"parameter/w": torch.ones(2), "parameter/empty": torch.empty(0, 3)})
    snapshot.write(url, version, commit_of(version))
    assert snapshot.read(url, 0, version.hash).version.hash == version.hash


def test_a_state_is_not_kept_under_the_record_of_another(url):
    with pytest.raises(StateDiverged, match="nothing is written"):
        snapshot.write(url, VERSION, make(8)[1])
    assert snapshot.newest(url) is None


@pytest.mark.parametrize("name", ["model.safetensors", "outer.safetensors", "ledger.json"])
@pytest.mark.parametrize("harm", ["changed", "torn", "emptied"])
def test_a_broken_file_is_found(url, name, harm):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    whole = files.read(name)
    broken = {"changed": whole[:-1] + bytes([whole[-1] ^ 1]), "torn": whole[:-5], "emptied": b""}
    files.write(name, broken[harm])
    with pytest.raises(SnapshotCorrupt, match=name):
        snapshot.read(url, 7, VERSION.hash)


def test_every_changed_byte_is_found(tmp_path):
    url = str(tmp_path)
    snapshot.write(url, VERSION, COMMIT)
    path = tmp_path / snapshot.name(7, VERSION.hash) / "model.safetensors"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(SnapshotCorrupt):
            snapshot.read(url, 7, VERSION.hash)


def test_a_file_that_is_gone_makes_a_snapshot_corrupt(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    files.fs.rm_file(files.path("outer.safetensors"))
    with pytest.raises(SnapshotCorrupt, match="lacks a file"):
        snapshot.read(url, 7, VERSION.hash)


def test_without_its_manifest_a_snapshot_is_not_there(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    files.fs.rm_file(files.path("manifest.json"))
    assert not snapshot.readable(url, 7, VERSION.hash)
    assert snapshot.newest(url) is None
    with pytest.raises(SnapshotMissing):
        snapshot.read(url, 7, VERSION.hash)


def test_what_a_removal_left_is_no_obstacle_to_writing_it_again(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    files.fs.rm_file(files.path("manifest.json"))
    snapshot.write(url, VERSION, COMMIT)
    assert snapshot.read(url, 7, VERSION.hash).commit == COMMIT


def test_one_that_was_never_written_is_missing(url):
    with pytest.raises(SnapshotMissing):
        snapshot.read(url, 7, VERSION.hash)
    assert not snapshot.readable(url, 7, VERSION.hash)
    assert snapshot.newest(url) is None
    snapshot.prune(url, committed=9, keep=2)


def test_a_state_with_the_same_first_digits_is_not_taken_for_it(url):
    snapshot.write(url, VERSION, COMMIT)
    with pytest.raises(SnapshotMissing):
        snapshot.read(url, 7, VERSION.hash[:8] + "0" * 56)


@pytest.mark.parametrize(
    "text", [b'{"schema": 3, "ver', b"", b"[]", b'"x"', b'{"schema": 1}', b"{}", b"\xff"]
)
def test_a_torn_manifest_is_found(url, text):
    snapshot.write(url, VERSION, COMMIT)
    Files(url, VERSION).write("manifest.json", text)
    with pytest.raises(SnapshotCorrupt):
        snapshot.read(url, 7, VERSION.hash)


def test_a_manifest_of_another_state_is_found(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    manifest = json.loads(files.read("manifest.json"))
    files.write("manifest.json", json.dumps({**manifest, "hash": "0" * 64}).encode())
    with pytest.raises(SnapshotCorrupt, match="does not hold the state"):
        snapshot.read(url, 7, VERSION.hash)


def test_an_existing_snapshot_is_not_written_over(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    before = {path: files.fs.cat_file(path) for path in files.fs.ls(files.folder, detail=False)}
    other = commit_of(Version(number=7, tensors=VERSION.tensors))
    object.__setattr__(other, "epoch", 4)
    snapshot.write(url, VERSION, other)
    assert before == {path: files.fs.cat_file(path) for path in files.fs.ls(files.folder, detail=False)}


def test_a_snapshot_moved_in_meanwhile_stays(tmp_path):
    url, place = str(tmp_path / "here"), snapshot.name(7, VERSION.hash)
    snapshot.write(str(tmp_path / "there"), VERSION, COMMIT)
    (tmp_path / "here").mkdir()

    class Meanwhile(dict):
        """The tensors; another writer is faster while they are read."""

        def items(self):
            if not (tmp_path / "here" / place).exists():
                (tmp_path / "there" / place).rename(tmp_path / "here" / place)
            return super().items()

    version = Version(number=7, tensors=Meanwhile(VERSION.tensors))
    faster = (tmp_path / "there" / place).stat().st_ino
    snapshot.write(url, version, COMMIT)
    assert (tmp_path / "here" / place).stat().st_ino == faster
    assert [path.name for path in (tmp_path / "here").iterdir()] == [place]


def test_the_newest_whole_one_is_found(url, caplog):
    for number in (3, 9, 10):
        snapshot.write(url, *make(number))
    files = Files(url, make(10)[0])
    files.write("model.safetensors", b"torn")
    with caplog.at_level(logging.WARNING):
        found = snapshot.newest(url)
    assert found is not None
    assert found.commit == make(9)[1]
    assert "000010" in caplog.text


def test_of_two_chains_the_newest_is_of_the_one_that_lives(url):
    snapshot.write(url, *make(8, epoch=4))
    for number in (9, 10):
        snapshot.write(url, *make(number, seed=1, epoch=4))  # dropped by a rewind to 8, which begins epoch 5
    assert snapshot.newest(url).version.number == 10, "nothing has come after the rewind"
    snapshot.write(url, *make(9, epoch=5))
    assert snapshot.newest(url).commit == make(9, epoch=5)[1]


def test_one_whose_record_is_torn_is_passed_over(url, caplog):
    for number in (3, 9):
        snapshot.write(url, *make(number))
    Files(url, make(9)[0]).write("ledger.json", b"{")
    with caplog.at_level(logging.WARNING):
        assert snapshot.newest(url).version.number == 3
    assert "000009" in caplog.text


def test_a_snapshot_says_what_was_trained(url):
    snapshot.write(url, VERSION, COMMIT, {"model": "abc", "seed": "1"})
    snapshot.write(url, *make(8))
    assert snapshot.read(url, 7, VERSION.hash).identity == {"model": "abc", "seed": "1"}
    assert snapshot.newest(url).identity == {}


def test_a_snapshot_of_a_writer_that_did_not_say_what_was_trained_is_read(url):
    snapshot.write(url, VERSION, COMMIT)
    files = Files(url, VERSION)
    manifest = json.loads(files.read("manifest.json"))
    del manifest["identity"]
    files.write("manifest.json", json.dumps(manifest).encode())
    assert snapshot.newest(url).identity == {}


def test_the_newest_number_is_told_by_names_of_finished_snapshots(url):
    assert newest_number(url) == 0
    snapshot.write(url, *make(0))
    assert newest_number(url) == 0, "nothing was trained for version 0"
    for number in (7, 12):
        snapshot.write(url, *make(number))
    fs, root = fsspec.core.url_to_fs(url)
    for place in (".000020-abcdef01.99", "000020-abcdef01"):
        fs.makedirs(f"{root}/{place}", exist_ok=True)
        fs.pipe_file(f"{root}/{place}/model.safetensors", b"half")
    assert newest_number(url) == 12
    Files(url, make(12)[0]).write("model.safetensors", b"torn")
    assert newest_number(url) == 12


def test_the_newest_number_is_found_without_torch(tmp_path):
    snapshot.write(str(tmp_path), VERSION, COMMIT)
    code = (
        "import sys\n"
        "from curtail_dist.state.places import newest_number\n"
        f"assert newest_number({str(tmp_path)!r}) == 7\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_versions_count_as_numbers_beyond_six_digits(url):
    for number in (999_999, 1_000_000):
        snapshot.write(url, *make(number))
    found = snapshot.newest(url)
    assert found is not None
    assert found.version.number == 1_000_000


def test_pruning_deletes_what_the_chain_no_longer_needs(url):
    for number in range(6):
        snapshot.write(url, *make(number))
    snapshot.prune(url, committed=5, keep=2)
    assert numbers(url) == ["000004", "000005"]


def test_a_dead_chain_with_higher_numbers_pushes_nothing_out(url):
    for number in (3, 4, 5):
        snapshot.write(url, *make(number))
    for number in (50, 51, 52):
        snapshot.write(url, *make(number, seed=1))
    snapshot.prune(url, committed=5, keep=2)
    assert numbers(url) == ["000004", "000005", "000050", "000051", "000052"]
    assert snapshot.read(url, 4, make(4)[0].hash)


def test_what_dead_attempts_left_goes_when_its_number_does(url):
    fs, root = fsspec.core.url_to_fs(url)
    for number in (2, 5):
        snapshot.write(url, *make(number))
        snapshot.write(url, *make(number, seed=1))
        for place in (f".00000{number}-abcdef01.99", f"00000{number}-abcdef01"):
            fs.makedirs(f"{root}/{place}", exist_ok=True)
            fs.pipe_file(f"{root}/{place}/model.safetensors", b"half")
    fs.pipe_file(f"{root}/notes.txt", b"somebody's own")
    snapshot.prune(url, committed=5, keep=3)
    assert numbers(url) == ["000005"] * 4 + ["notes."]


def test_equal_versions_give_equal_files(tmp_path):
    for place, order in (("a", list), ("b", reversed)):
        tensors = {name: VERSION.tensors[name].clone() for name in order(list(VERSION.tensors))}
        snapshot.write(str(tmp_path / place), Version(number=7, tensors=tensors), COMMIT)
    name = snapshot.name(7, VERSION.hash)
    for path in (tmp_path / "a" / name).iterdir():
        assert path.read_bytes() == (tmp_path / "b" / name / path.name).read_bytes()


@pytest.mark.parametrize("url", ["nosuchscheme://x/y", "abfs://x/y"])
def test_a_url_that_nothing_opens_is_one_clear_error(url):
    with pytest.raises(ConfigError, match=r"state\.url is"):
        snapshot.readable(url, 7, VERSION.hash)


def test_a_plain_directory_does_not_load_fsspec(tmp_path):
    program = (
        "import sys; from curtail_dist.state import snapshot\n"
        f"assert snapshot.newest({str(tmp_path)!r}) is snapshot.newest('file://{tmp_path}') is None\n"
        "sys.exit('fsspec' in sys.modules)"
    )
    root = Path(snapshot.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50, cwd=root)


def test_what_a_model_must_match_is_names_types_and_shapes():
    zeros = {name: torch.zeros_like(tensor) for name, tensor in VERSION.tensors.items()}
    assert snapshot.like(zeros) == snapshot.like(VERSION.tensors)
    assert snapshot.like({**zeros, "parameter/b": torch.zeros(4)}) != snapshot.like(VERSION.tensors)
