import hashlib
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat import shards

TEXTS = {"train": [f"text {i} \u00e9" for i in range(2_500)], "val": ["held out", ""]}


def written(directory, **changes):
    arguments = {"name": "d", "source": "here", "texts": TEXTS, "rows_per_shard": 2_000, **changes}
    return shards.load(shards.write_dataset(directory, **arguments))


def test_what_is_written_is_read_in_order(tmp_path):
    manifest = written(tmp_path)
    assert list(shards.read_texts(manifest, "train")) == TEXTS["train"]
    assert list(shards.read_texts(manifest, "val")) == TEXTS["val"]
    assert [(s.file, s.rows) for s in manifest.of_split("train")] == [
        ("train-00000.parquet", 2_000),
        ("train-00001.parquet", 500),
    ]
    assert [(s.file, s.rows) for s in manifest.of_split("val")] == [("val-00000.parquet", 2)]
    assert sum(s.bytes for s in manifest.of_split("train")) == sum(len(t.encode()) for t in TEXTS["train"])


@pytest.mark.parametrize("first_row", [0, 5, 1_024, 1_999, 2_000, 2_499, 2_500])
def test_reading_may_start_at_any_row(tmp_path, first_row):
    manifest = written(tmp_path)
    assert list(shards.read_texts(manifest, "train", first_row=first_row)) == TEXTS["train"][first_row:]


def test_the_manifest_on_disk_is_the_documented_one(tmp_path):
    written(tmp_path)
    raw = json.loads((tmp_path / "manifest.json").read_text())
    assert set(raw) == {"schema", "name", "source", "column", "shards", "hash"}
    assert (raw["schema"], raw["column"]) == (1, "text")
    assert set(raw["shards"][0]) == {"file", "split", "rows", "bytes", "sha256"}
    lines = "".join(f"{s['split']} {s['sha256']}\n" for s in raw["shards"])
    assert raw["hash"] == hashlib.sha256(lines.encode()).hexdigest()
    file = tmp_path / raw["shards"][0]["file"]
    assert raw["shards"][0]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert pq.ParquetFile(file).metadata.row_group(0).num_rows == 1_024


def test_the_same_texts_give_the_same_bytes_and_others_another_hash(tmp_path):
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    for shard in first.shards:
        assert (tmp_path / "a" / shard.file).read_bytes() == (tmp_path / "b" / shard.file).read_bytes()
    assert first.hash == second.hash
    assert written(tmp_path / "c", texts={**TEXTS, "val": ["other"]}).hash != first.hash


def test_where_shards_come_from_and_whose_tokenizer_is_theirs_are_kept_but_are_no_part_of_the_hash(tmp_path):
    plain = written(tmp_path)
    tokenizer = shards.TokenizerFile(file="../tokenizer/tokenizer.json", sha256="0" * 64)
    named = replace(plain, url="https://host/data", tokenizer=tokenizer)
    again = shards.load(named.save())
    assert again == named and again.hash == plain.hash
    assert again.address(again.shards[0]) == "https://host/data/train-00000.parquet"
    assert plain.address(plain.shards[0]) is None
    raw = json.loads((tmp_path / "manifest.json").read_text())
    assert (raw["schema"], raw["url"]) == (1, "https://host/data")
    assert raw["tokenizer"] == {"file": "../tokenizer/tokenizer.json", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("url", "host/data", "url is 'host/data'; it must be SCHEME"),
        ("url", "https://me:secret@host/data", "it must be SCHEME"),
        ("url", "https://host/data?key=secret", "it must be SCHEME"),
        ("url", 3, "url is 3"),
        ("tokenizer", {"file": "t.json"}, "lacks or garbles"),
        ("tokenizer", {"file": "/t.json", "sha256": "0" * 64}, "a path relative to the manifest"),
        ("tokenizer", {"file": "t.json", "sha256": "0" * 63}, "64 digits of 0-9 and a-f"),
        ("tokenizer", "t.json", "lacks or garbles"),
    ],
)
def test_a_place_or_tokenizer_that_is_none_is_refused_in_one_line(tmp_path, key, value, message):
    written(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(shards.DataProblem, match=message) as caught:
        shards.load(path)
    assert "again" in str(caught.value) and "\n" not in str(caught.value)


def test_a_split_that_changes_sides_changes_the_hash(tmp_path):
    texts = {"train": ["a"], "val": ["a"]}
    first = written(tmp_path, texts=texts).shards
    swapped = shards.Manifest(directory=tmp_path, name="d", source="s", shards=first[::-1])
    assert swapped.hash != shards.Manifest(directory=tmp_path, name="d", source="s", shards=first).hash


def test_a_corrupt_shard_is_named_with_both_hashes_and_yields_no_text(tmp_path):
    manifest = written(tmp_path)
    file = tmp_path / "train-00001.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        shards.DataProblem, match=f"train-00001.parquet has SHA-256 {found}; it must be"
    ) as caught:
        shards.verify(manifest)
    assert manifest.shards[1].sha256 in str(caught.value) and "again" in str(caught.value)
    texts = shards.read_texts(manifest, "train", first_row=2_000)
    with pytest.raises(shards.DataProblem):
        next(texts)
    assert list(shards.read_texts(manifest, "val")) == TEXTS["val"]


def test_a_missing_shard_is_named(tmp_path):
    manifest = written(tmp_path)
    (tmp_path / "val-00000.parquet").unlink()
    with pytest.raises(shards.DataProblem, match=r"val-00000\.parquet is unreadable .* fetch it again"):
        shards.verify(manifest)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(shards.DataProblem, match="split is 'test'; it must be one of train, val"):
        next(shards.read_texts(written(tmp_path), "test"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"schema": 2, "column": "text"}',
        '{"schema": 1, "column": "text", "shards": [{}]}',
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(shards.DataProblem, match="again") as caught:
        shards.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_says_what_to_run(tmp_path):
    with pytest.raises(shards.DataProblem, match=r"run python -m nanochat\.dataset"):
        shards.load(tmp_path / "manifest.json")


def test_a_manifest_whose_hash_does_not_fit_its_shards_is_refused(tmp_path):
    written(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"split": "val"', '"split": "train"'))
    with pytest.raises(shards.DataProblem, match="has hash"):
        shards.load(path)


def test_foreign_parquet_files_are_adopted_as_they_come(tmp_path):
    table = pa.table({"text": ["a", "\u00e9"], "url": ["x", "y"]})
    pq.write_table(table, tmp_path / "000_00000.parquet", row_group_size=1)
    pq.write_table(table.slice(1), tmp_path / "000_00001.parquet")
    files = {"000_00000.parquet": "train", "000_00001.parquet": "val"}
    manifest = shards.load(shards.adopt(tmp_path, name="fineweb-edu", source="there", files=files))
    assert list(shards.read_texts(manifest, "train")) == ["a", "\u00e9"]
    assert [(s.rows, s.bytes) for s in manifest.shards] == [(2, 3), (1, 2)]
    shards.verify(manifest)


def test_a_parquet_file_without_text_is_refused(tmp_path):
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(shards.DataProblem, match="has no readable column text"):
        shards.adopt(tmp_path, name="d", source="s", files={"x.parquet": "train"})


def test_a_column_of_something_else_than_texts_is_refused(tmp_path):
    pq.write_table(pa.table({"text": [1]}), tmp_path / "x.parquet")
    with pytest.raises(shards.DataProblem, match="column text of int64; it must be of strings"):
        shards.adopt(tmp_path, name="d", source="s", files={"x.parquet": "train"})


def test_adopting_the_same_files_again_keeps_their_tokenizer_and_other_files_do_not(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"]}), tmp_path / "b.parquet")
    tokenizer = shards.TokenizerFile(file="tokenizer.json", sha256="0" * 64)

    def adopt(**files):
        names = {f"{name}.parquet": split for name, split in files.items()}
        return shards.load(shards.adopt(tmp_path, name="d", source="s", files=names))

    replace(adopt(a="train", b="val"), tokenizer=tokenizer, url="memory://d").save()
    again = adopt(a="train", b="val")
    assert (again.tokenizer, again.url) == (tokenizer, "memory://d")
    other = adopt(b="train", a="val")
    assert (other.tokenizer, other.url) == (None, None)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("file", "../x.parquet", "below the manifest's directory"),
        ("file", "/x.parquet", "below the manifest's directory"),
        ("file", "a//x.parquet", "below the manifest's directory"),
        ("file", ".x.parquet", "below the manifest's directory"),
        ("file", "manifest.json", "below the manifest's directory"),
        ("split", "test", "one of train, val"),
        ("rows", -1, "a whole number from 0 on"),
        ("bytes", "many", "a whole number from 0 on"),
        ("sha256", "0" * 64 + "\n", "64 digits"),
    ],
)
def test_an_entry_that_leads_elsewhere_or_says_nonsense_is_refused(tmp_path, key, value, message):
    shard = {"file": "a/x.parquet", "split": "val", "rows": 0, "bytes": 0, "sha256": "0" * 64}
    shards.Shard(**shard)
    with pytest.raises(shards.DataProblem, match=message):
        shards.Shard(**{**shard, key: value})


def test_a_failed_write_leaves_what_was_there(tmp_path):
    written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken():
        yield "a"
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError):
        shards.write_dataset(tmp_path, name="d", source="s", texts={"train": broken()})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
