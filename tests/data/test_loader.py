import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curtail_dist.data.loader import RowOrder, RowReader
from curtail_dist.data.manifest import read_manifest
from curtail_dist.errors import DataError


@pytest.fixture
def data(tmp_path):
    shards = []
    for number, texts in enumerate((["a", "b", "c"], ["d", "e"])):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": texts}), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"file": path.name, "split": "train", "rows": len(texts), "bytes": 9, "sha256": digest})
    shards.append({"file": "held-out", "split": "val", "rows": 7, "bytes": 9, "sha256": "-"})
    manifest = {"schema": 1, "name": "letters", "column": "text", "shards": shards, "hash": "h"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_rows_are_numbered_over_the_training_shards_alone(data):
    manifest = read_manifest(data / "manifest.json")
    reader = RowReader(manifest)
    assert manifest.rows == 5
    assert [reader[index].text for index in (0, 2, 3, 4)] == ["a", "c", "d", "e"]


def test_a_corrupt_shard_is_named(data):
    path = data / "1.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    reader = RowReader(read_manifest(data / "manifest.json"))
    assert reader[0].text == "a"
    with pytest.raises(DataError, match=r"1\.parquet is corrupt.*prepare the data set again"):
        reader[3]


def test_a_missing_shard_is_named(data):
    (data / "0.parquet").unlink()
    with pytest.raises(DataError, match=r"0\.parquet cannot be read"):
        RowReader(read_manifest(data / "manifest.json"))[0]


@pytest.mark.parametrize("text", ["no json", "[]", '{"schema": 2}', '{"schema": 1, "shards": [{}]}'])
def test_a_garbled_manifest_is_one_clear_error(data, text):
    (data / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest .*prepare the data set again"):
        read_manifest(data / "manifest.json")


def test_each_pass_has_every_row_once_in_another_order():
    order = RowOrder(rows=50, passes=2, seed=3)
    first, second = ([order.row(p) for p in range(start, start + 50)] for start in (0, 50))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_the_same_seed_gives_the_same_order():
    orders = [[RowOrder(rows=30, passes=1, seed=seed).row(p) for p in range(30)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
