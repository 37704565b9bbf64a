import json

import pytest
import torch

from curtail_dist.errors import SnapshotCorrupt
from curtail_dist.state import snapshot
from curtail_dist.state.version import Version


@pytest.fixture
def version():
    tensors = {
        "parameter/w": torch.randn(3, 5),
        "parameter/b": torch.randn(3),
        "outer/w/momentum_buffer": torch.randn(3, 5),
    }
    return Version(number=7, tensors=tensors)


def test_what_is_read_has_the_bytes_that_were_written(tmp_path, version):
    path = snapshot.write(tmp_path, version, version.hash, {"version": 7})
    found = snapshot.read(path)
    assert found.version.number == 7
    assert found.version.hash == found.hash == version.hash
    assert found.record == {"version": 7}
    assert path.name == f"000007-{version.hash[:8]}"


def test_a_version_without_outer_state_is_kept_too(tmp_path):
    version = Version(number=0, tensors={"parameter/w": torch.ones(2)})
    assert snapshot.read(snapshot.write(tmp_path, version, version.hash, {})).version.hash == version.hash


@pytest.mark.parametrize("name", ["model.safetensors", "outer.safetensors", "ledger.json"])
def test_a_changed_file_is_found(tmp_path, version, name):
    path = snapshot.write(tmp_path, version, version.hash, {"version": 7})
    raw = bytearray((path / name).read_bytes())
    raw[-1] ^= 1
    (path / name).write_bytes(raw)
    with pytest.raises(SnapshotCorrupt, match=name):
        snapshot.read(path)


def test_a_torn_manifest_is_found(tmp_path, version):
    path = snapshot.write(tmp_path, version, version.hash, {})
    (path / "manifest.json").write_text('{"schema": 1, "ver')
    with pytest.raises(SnapshotCorrupt, match="cannot be read"):
        snapshot.read(path)


def test_a_manifest_of_another_state_is_found(tmp_path, version):
    path = snapshot.write(tmp_path, version, version.hash, {})
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["hash"] = "0" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SnapshotCorrupt, match="does not hold the state"):
        snapshot.read(path)


def test_an_existing_snapshot_is_not_written_over(tmp_path, version):
    path = snapshot.write(tmp_path, version, version.hash, {"first": True})
    snapshot.write(tmp_path, version, version.hash, {"first": False})
    assert snapshot.read(path).record == {"first": True}


def test_an_unfinished_one_is_not_listed(tmp_path, version):
    done = snapshot.write(tmp_path, version, version.hash, {})
    (tmp_path / ".000008-abcdef01.99").mkdir()
    (tmp_path / "000009-abcdef01").mkdir()
    assert snapshot.complete(tmp_path) == [done]


def test_pruning_keeps_the_newest_versions(tmp_path):
    for number in range(5):
        version = Version(number=number, tensors={"parameter/w": torch.full((2,), float(number))})
        snapshot.write(tmp_path, version, version.hash, {})
    snapshot.prune(tmp_path, 2)
    assert [path.name[:6] for path in snapshot.complete(tmp_path)] == ["000004", "000003"]
