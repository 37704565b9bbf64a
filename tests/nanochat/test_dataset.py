"""A directory of Parquet files becomes a data set whole or not at all, and stays the user's own."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat import dataset, shards, verb
from nanochat.stream import TokenStream
from nanochat.tokenizer import train_tokenizer

GOOD = {"a": ["one", "two"], "b": ["three"], "c": ["held out"]}


@pytest.fixture
def write(tmp_path):
    """Writes a directory of files with these texts, None for null and bytes for what is no UTF-8."""

    def write(name, files):
        directory = tmp_path / name
        directory.mkdir()
        for file, texts in files.items():
            column = strings(texts)
            pq.write_table(pa.table({"text": column}), directory / f"{file}.parquet", row_group_size=2)
        return directory

    return write


def strings(texts):
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    packed = pa.array(raw, type=pa.binary())
    return pa.StringArray.from_buffers(
        len(raw), *packed.buffers()[1:], packed.buffers()[0], packed.null_count
    )


def prepared(root, directory):
    return verb.run(dataset.main, ["--root", str(root), "--source", str(directory)])


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def refused(tmp_path, directory, capsys):
    """The one line with which a directory is refused, that leaves nothing behind."""
    before = contents(directory)
    assert prepared(tmp_path / "root", directory) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and contents(directory) == before
    assert not (tmp_path / "root" / "data").is_symlink()
    return error


@pytest.mark.parametrize("file", ["b", "c"])
@pytest.mark.parametrize(("text", "what"), [(None, "is null"), (b"\xff\xfe", "is not UTF-8")])
def test_a_row_that_is_no_text_is_refused_by_shard_and_row(write, tmp_path, capsys, file, text, what):
    directory = write("mine", {**GOOD, file: ["x", "\N{EURO SIGN}", "y", text, "z"]})
    error = refused(tmp_path, directory, capsys)
    assert f"{file}.parquet: text of row 3, counted from 0, {what}; it must be text in UTF-8" in error


@pytest.mark.parametrize("text", [None, b"\xff\xfe"])
def test_such_a_row_in_a_data_set_of_before_is_told_as_it_is_read(write, text):
    directory = write("mine", {"a": ["x", "y", "z", text], "c": ["held out"]})
    shard = {"file": "a.parquet", "split": "train", "rows": 4, "bytes": 3}
    entry = shards.Shard(**shard, sha256=shards.sha256_of(directory / "a.parquet"))
    manifest = shards.Manifest(directory=directory, name="d", source="s", shards=(entry,))
    with pytest.raises(shards.DataProblem, match=r"a\.parquet: text of row 3, counted from 0, is n"):
        list(shards.read_texts(manifest, "train", first_row=1))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": [], "b": [], "c": ["x"]}, "split train (a.parquet, b.parquet) has 0 rows; it must have 1"),
        ({"a": ["x"], "b": ["y"], "c": []}, "split val (c.parquet) has 0 rows; it must have 1"),
        ({"a": ["x"], "b": ["y"], "c": ["x"]}, "c.parquet has the bytes of a.parquet, which is trained on"),
    ],
)
def test_a_split_that_is_empty_or_trained_on_is_refused(write, tmp_path, capsys, files, message):
    assert message in refused(tmp_path, write("mine", files), capsys)


def test_a_stream_of_no_rows_is_refused(tmp_path):
    tokenizer = train_tokenizer(["abc" * 50], vocab_size=265, doc_cap=200, max_chars=200)
    manifest = shards.load(shards.write_dataset(tmp_path, name="d", source="s", texts={"val": ["x"]}))
    with pytest.raises(ValueError, match="the number of training rows is 0; it must be 1 or more"):
        TokenStream(manifest, tokenizer, batch_size=1, sequence_length=8)


def test_a_directory_that_was_refused_is_not_in_the_way_of_the_next(write, tmp_path):
    assert prepared(tmp_path / "root", write("wrong", {**GOOD, "b": [None]})) == 2
    mine = write("mine", GOOD)
    assert prepared(tmp_path / "root", mine) == 0
    assert (tmp_path / "root" / "data").resolve() == mine


def test_a_link_that_leads_nowhere_is_not_in_the_way(write, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "data").symlink_to(tmp_path / "gone")
    mine = write("mine", GOOD)
    assert prepared(tmp_path / "root", mine) == 0
    assert (tmp_path / "root" / "data").resolve() == mine and not (tmp_path / "gone").exists()


def test_the_library_is_not_written_into_a_directory_that_is_linked(write, tmp_path, capsys):
    mine = write("mine", GOOD)
    assert prepared(tmp_path / "root", mine) == 0
    before = contents(mine)
    given = ["--root", str(tmp_path / "root"), "--source", "stdlib", "--max-bytes", "200000"]
    assert verb.run(dataset.main, given) == 2
    error = capsys.readouterr().err
    assert f"data is a link to {mine}; it must not be" in error and error.count("\n") == 1
    assert contents(mine) == before
