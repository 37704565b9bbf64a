"""A data set's manifest names the tokenizer that was trained on it."""

import hashlib
from dataclasses import replace

import pytest

from nanochat import dataset, shards, tok_train


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    dataset.prepare_stdlib(root, max_bytes=100_000, seed=1)
    return root


def trained(root, vocab_size=300):
    return tok_train.train_tokenizer_to(root, vocab_size=vocab_size, max_chars=20_000, doc_cap=2_000)


def manifest_of(root):
    return shards.load(dataset.manifest_path(root))


def test_the_manifest_names_the_tokenizer_and_its_hash(root):
    before = manifest_of(root)
    path = trained(root)
    manifest = manifest_of(root)
    assert manifest.tokenizer.file == "../tokenizer/tokenizer.json"
    assert manifest.tokenizer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.hash == before.hash and manifest.shards == before.shards
    trained(root, vocab_size=310)
    assert manifest_of(root).tokenizer.sha256 != manifest.tokenizer.sha256


def test_a_tokenizer_that_is_kept_is_named_too_and_a_manifest_that_names_it_is_left(root):
    trained(root)
    noted = manifest_of(root)
    replace(noted, tokenizer=None).save()
    trained(root)
    assert manifest_of(root) == noted
    written = dataset.manifest_path(root).stat().st_mtime_ns
    trained(root)
    assert dataset.manifest_path(root).stat().st_mtime_ns == written


def test_the_name_leads_from_where_the_manifest_lies_though_the_root_has_a_link_to_it(root, tmp_path):
    elsewhere = tmp_path / "far" / "away"
    elsewhere.parent.mkdir()
    (root / "data").rename(elsewhere)
    (root / "data").symlink_to(elsewhere)
    path = trained(root)
    named = elsewhere / manifest_of(root).tokenizer.file
    assert named.resolve() == path.resolve() and named.exists()


class OnAReadOnlyDisk(shards.Manifest):
    """A manifest that cannot be written."""

    def save(self):
        raise OSError(30, "Read-only file system", str(self.directory))


def test_a_manifest_that_cannot_be_written_is_told_and_the_tokenizer_stays(root, capsys):
    path, manifest = trained(root), manifest_of(root)
    facts = {"name": manifest.name, "source": manifest.source, "shards": manifest.shards}
    tok_train.note_in(OnAReadOnlyDisk(directory=manifest.directory, **facts), path)
    said = capsys.readouterr().out
    assert (
        said == f"the manifest in {manifest.directory} does not name the tokenizer (Read-only file system)\n"
    )
    assert path.exists()
