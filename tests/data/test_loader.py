import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curtail_dist.data.loader import RowReader
from curtail_dist.data.manifest import Manifest, NamedFile, Shard, read_manifest
from curtail_dist.errors import DataError
from nanochat.shards import write_dataset


@pytest.fixture
def data(tmp_path):
    shards = []
    for number, texts in enumerate((["a", "b", "c"], ["d", "e"])):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"text": texts}), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"file": path.name, "split": "train", "rows": len(texts), "bytes": 9, "sha256": digest})
    shards.append({"file": "held-out", "split": "val", "rows": 7, "bytes": 9, "sha256": "0" * 64})
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


@pytest.mark.parametrize(
    "content",
    [
        b"no json",
        b"[]",
        b'{"schema": 2}',
        b'{"schema": 1, "shards": [{}]}',
        b'{"schema": 1, "shards": "none"}',
        '{"schema": 1}'.encode("utf-16"),
        '{"schema": 1, "name": "Muße"}'.encode("latin-1"),
        b"[" * 100_000,
    ],
)
def test_a_garbled_manifest_is_one_clear_error(data, content):
    (data / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest .*prepare the data set again"):
        read_manifest(data / "manifest.json")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": -3}, "rows, -3, which must be a whole number from 0 on"),
        ({"rows": "3"}, "rows, '3', which must be a whole number"),
        ({"rows": 2.7}, r"rows, 2\.7, which must be a whole number"),
        ({"rows": float("inf")}, "rows, inf, which must be a whole number"),
        ({"rows": 2**70}, "rows, 1180591620717411303424, which must be"),
        ({"bytes": None}, "bytes, None, which must be a whole number"),
        ({"sha256": 5}, "sha256, 5, which must be 64 digits"),
        ({"sha256": "AB" * 32}, "sha256, 'ABAB.*, which must be 64 digits of 0-9 and a-f"),
        ({"file": ""}, "the file '', which must lie below the manifest"),
        ({"file": 7}, "file, 7, which must be text"),
    ],
)
def test_what_a_shard_cannot_be_is_told(data, changes, said):
    path = data / "manifest.json"
    raw = json.loads(path.read_text())
    raw["shards"][0] |= changes
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=f"garbles {said}"):
        read_manifest(path)


@pytest.mark.parametrize("changes", [{"column": 3}, {"url": 3}, {"name": None}])
def test_what_a_manifest_cannot_say_is_told(data, changes):
    path = data / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError, match=f"garbles {next(iter(changes))}, .*, which must be text"):
        read_manifest(path)


@pytest.mark.parametrize("edit", [lambda one: one[::-1], lambda one: one[1:], lambda one: [*one, one[0]]])
def test_shards_that_were_edited_are_another_data_set_whatever_hash_the_manifest_says(data, edit):
    path = data / "manifest.json"
    raw = json.loads(path.read_text())
    before = read_manifest(path).hash
    path.write_text(json.dumps({**raw, "shards": edit(raw["shards"])}))
    assert read_manifest(path).hash != before


def test_the_hash_is_what_the_manifest_of_a_prepared_data_set_says(tmp_path):
    path = write_dataset(tmp_path, name="n", source="s", texts={"train": ["a", "b"], "val": ["c"]})
    assert read_manifest(path).hash == json.loads(path.read_text())["hash"]


def test_rows_are_the_same_whatever_the_row_groups_and_few_are_held(tmp_path):
    texts = [f"row {number}" for number in range(97)]
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    shard = Shard(path=path, file=path.name, rows=97, bytes=1_000, sha256=digest)
    reader = RowReader(Manifest(name="n", column="text", shards=(shard,), held_out=(), hash="h"))
    assert [reader[index].text for index in (96, 0, *range(97), 9, 10)] == [
        texts[index] for index in (96, 0, *range(97), 9, 10)
    ]
    held = [len(column) for column in reader._groups.values()]
    assert len(held) == 4 and max(held) == 10


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array(["a", None, "c"]), "is null"),
        (pa.array([b"a", b"b", b"c"]), "is bytes"),
        (pa.array([1, 2, 3]), "is int"),
        (pa.array([b"a", b"\xff", b"c"]).view(pa.string()), "is not UTF-8"),
    ],
)
def test_a_row_that_is_no_text_is_named(data, column, said):
    path = data / "0.parquet"
    pq.write_table(pa.table({"text": column}), path)
    raw = json.loads((data / "manifest.json").read_text())
    raw["shards"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (data / "manifest.json").write_text(json.dumps(raw))
    reader = RowReader(read_manifest(data / "manifest.json"))
    with pytest.raises(
        DataError, match=rf"0\.parquet: text of row 1, counted from 0, {said}; it must be text"
    ):
        reader[1]


def test_a_shard_that_is_read_is_asked_for_once_before_it_is_opened(data):
    asked = []
    manifest = read_manifest(data / "manifest.json")
    reader = RowReader(manifest, provide=lambda shard: asked.append((shard.file, shard.path.exists())))
    assert [reader[index].text for index in (0, 1, 3)] == ["a", "b", "d"]
    assert asked == [("0.parquet", True), ("1.parquet", True)]


def test_a_manifest_says_what_is_held_out_and_where_files_are(data):
    path = data / "manifest.json"
    raw = json.loads(path.read_text())
    assert read_manifest(path).url is None and read_manifest(path).tokenizer is None
    raw |= {"url": "https://host/data", "tokenizer": {"file": "../tokenizer/t.json", "sha256": "0" * 64}}
    path.write_text(json.dumps(raw))
    manifest = read_manifest(path)
    assert manifest.url == "https://host/data"
    assert manifest.tokenizer == NamedFile(file="../tokenizer/t.json", sha256="0" * 64)
    assert [shard.file for shard in manifest.held_out] == ["held-out"]


@pytest.mark.parametrize("file", ["/etc/passwd", "../rows.parquet", "a/../../b.parquet"])
def test_a_shard_lies_below_its_manifest(data, file):
    path = data / "manifest.json"
    raw = json.loads(path.read_text())
    raw["shards"][0]["file"] = file
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match="must lie below the manifest"):
        read_manifest(path)
