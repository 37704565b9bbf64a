import pytest

from nanochat import corpus
from nanochat.shards import DataProblem

MODULE = '''"""Doc."""
import os

X = 1


@decorated
def first():
    return 1


class Second:
    def method(self):
        return 2


# the end
Y = 2
'''


def library(root, count=80):
    for i in range(count):
        (root / f"module_{i:02d}.py").write_text(f"def f{i}():\n    return {i}\n\n\nX{i} = {i}\n")
    return root


def test_a_module_is_cut_into_definitions_and_the_rest():
    first, second, rest = corpus.documents_of(MODULE)
    assert first == "@decorated\ndef first():\n    return 1\n"
    assert second.startswith("class Second:") and second.endswith("return 2\n")
    assert "import os" in rest and "Y = 2" in rest and "first" not in rest


def test_no_line_is_lost_or_doubled():
    lines = sorted(line for document in corpus.documents_of(MODULE) for line in document.splitlines())
    assert lines == sorted(MODULE.splitlines())


def test_what_does_not_parse_is_kept_whole():
    assert corpus.documents_of("print 'python 2'\n") == ["print 'python 2'\n"]


def test_documents_are_bounded_and_cut_at_line_ends():
    source = "".join(f"x{i} = {i}\n" for i in range(2_000))
    documents = corpus.documents_of(source)
    assert "".join(documents) == source
    assert all(len(d.encode()) <= corpus.DOCUMENT_BYTES and d.endswith("\n") for d in documents)


def test_the_same_sources_and_seed_give_the_same_corpus(tmp_path):
    library(tmp_path)
    first = corpus.build(tmp_path, max_bytes=10**6, seed=1)
    assert corpus.build(tmp_path, max_bytes=10**6, seed=1) == first
    other = corpus.build(tmp_path, max_bytes=10**6, seed=2)
    assert other.train != first.train and sorted(other.train) == sorted(first.train)


def test_a_file_is_on_one_side_only(tmp_path):
    built = corpus.build(library(tmp_path), max_bytes=10**6, seed=1)
    assert built.train and built.val
    for i in range(80):

        def has(documents, i=i):
            return any(f"def f{i}()" in d or f"X{i} =" in d for d in documents)

        assert has(built.train) != has(built.val)


def test_equal_documents_are_kept_once(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(f"def same():\n    return 0\n\n\n{name[0]} = 1\n")
    built = corpus.build(tmp_path, max_bytes=10**6, seed=1)
    assert sum("def same" in document for document in built.train + built.val) == 1


def test_the_cap_counts_the_bytes_of_both_splits(tmp_path):
    built = corpus.build(library(tmp_path), max_bytes=500, seed=1)
    assert 400 < sum(len(d.encode()) for d in built.train + built.val) <= 500


def test_tests_and_tables_are_left_out(tmp_path):
    left_out = ("test/a.py", "x/tests/b.py", "site-packages/c.py", "encodings/d.py", "_sysconfigdata_.py")
    for name in (*left_out, "x/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    assert [p.relative_to(tmp_path).as_posix() for p in corpus.source_files(tmp_path)] == ["x/e.py"]


def test_an_undecodable_file_is_skipped_and_named(tmp_path):
    library(tmp_path, count=3)
    (tmp_path / "bad.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "odd.py").write_bytes(b"# -*- coding: no-such-codec -*-\n")
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    built = corpus.build(tmp_path, max_bytes=10**6, seed=1)
    assert built.files == 4
    assert [line.split(":")[0] for line in built.skipped] == ["bad.py", "odd.py"]
    assert any("\u00e9" in document for document in built.train + built.val)


def test_a_library_without_sources_is_refused(tmp_path):
    with pytest.raises(DataProblem, match="holds no Python sources; it must"):
        corpus.build(tmp_path, max_bytes=10**6, seed=1)
