"""A tokenizer's file and its identity."""

import copy
import hashlib
import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustbpe import Tokenizer

NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAME, unique=True, max_size=4), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_loaded_tokenizer_is_the_saved_one(tmp_path, names, text):
    saved = Tokenizer.train(["low lower lowest"], 260 + len(names), special_tokens=names)
    saved.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.sha256 == saved.sha256
    assert loaded.merges == saved.merges
    assert loaded.pattern == saved.pattern
    assert list(loaded.special_tokens.items()) == list(saved.special_tokens.items())
    assert loaded.encode(text, allowed_special="all") == saved.encode(text, allowed_special="all")


@settings(deadline=None)
@given(names=st.lists(NAME, unique=True, max_size=4))
def test_the_identity_is_the_hash_of_the_canonical_content(names):
    tokenizer = Tokenizer.train(["low lower lowest"], 260 + len(names), special_tokens=names)
    content = {
        "schema": 1,
        "pattern": tokenizer.pattern,
        "merges": tokenizer.merges,
        "special_tokens": names,
    }
    canonical = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert tokenizer.sha256 == tokenizer.hash == hashlib.sha256(canonical).hexdigest()


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(tmp_path, tokenizer):
    path = tmp_path / "tokenizer.json"
    path.write_text("old")
    tokenizer.save(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]
    assert Tokenizer.load(path).sha256 == tokenizer.sha256


def test_a_save_that_fails_leaves_things_as_they_were(tmp_path, tokenizer):
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        tokenizer.save(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_saving_to_a_bare_name_writes_in_the_working_folder(tmp_path, tokenizer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer.save("bare.json")
    assert Tokenizer.load("bare.json").sha256 == tokenizer.sha256


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        Tokenizer.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04K\x01.", b"[1, 2]", b"{}", b'{"model": "x"}', b"null", b"[" * 100_000]
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "foreign.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"foreign\.json is no usable tokenizer: ") as caught:
        Tokenizer.load(path)
    assert "\n" not in str(caught.value)


def changed(**values):
    def change(content):
        content.update(values)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed(format="other"), 'format is "other"; it must be "curtail-rustbpe"'),
        (changed(schema=2), "schema is 2; this version reads schema 1"),
        (changed(schema=-1), "invalid value"),
        (changed(extra=1), "unknown field"),
        (changed(merges=[[97, 98, 99]]), "no usable tokenizer"),
        (changed(merges=[[97, 256]]), "both must be below 256"),
        (changed(merges=[[-1, 2]]), "invalid value"),
        (changed(merges=[[97, 98], [97, 98]]), "merge 1 is given twice"),
        (changed(merges=[[97, 97], *([id, id] for id in range(256, 400))]), "1 GiB"),
        (changed(pattern="("), "does not compile"),
        (changed(pattern="x"), "does not have its sha256"),
        (changed(sha256="0" * 64), "does not have its sha256"),
        (changed(special_tokens=["a", "a"]), "twice"),
        (lambda content: content.pop("merges"), "missing field"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, tokenizer, change, reason):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=reason) as caught:
        Tokenizer.load(path)
    assert "\n" not in str(caught.value)


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_torn_or_damaged_file_loads_as_something_else(tmp_path, tokenizer, data):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 2))
    torn = whole[:place]
    damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    for content in (torn, damaged):
        path.write_bytes(content)
        try:
            assert Tokenizer.load(path).sha256 == tokenizer.sha256
        except ValueError as refused:
            assert "no usable tokenizer" in str(refused)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_was_pickled_is_the_same(tokenizer, protocol):
    loaded = pickle.loads(pickle.dumps(tokenizer, protocol))
    assert type(loaded) is Tokenizer and loaded.sha256 == tokenizer.sha256
    assert loaded.special_tokens == tokenizer.special_tokens
    assert copy.deepcopy(tokenizer).sha256 == copy.copy(tokenizer).sha256 == tokenizer.sha256


def test_another_process_encodes_alike(tokenizer):
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(tokenizer.encode, "the cat sat").result() == tokenizer.encode("the cat sat")


def test_a_pickle_that_was_changed_is_refused(tokenizer):
    changed = pickle.dumps(tokenizer).replace(b"<|bos|>", b"<|bog|>")
    with pytest.raises(ValueError, match="sha256"):
        pickle.loads(changed)
