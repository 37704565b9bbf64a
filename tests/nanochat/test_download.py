"""Downloads from a server on loopback that fails in every way a network does."""

import fcntl
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_server import Files, answers, breaks_off, gives, hangs, meets, serving
from rich.console import Console
from rich.live import Live

from nanochat import dataset, shards, verb
from nanochat.download import Failed, Patience, download
from nanochat.download.progress import RATE_S, Bars, Lines, Meter, Rate
from nanochat.download.remote import Filesystem, Refused

HASTY = Patience(tries=3, first_s=0.01, most_s=0.02)
PATTERN = "shard_{:05d}.parquet"


def parquet(seed, rows=200, column="text"):
    random_ = random.Random(seed)
    texts = [f"{seed} {random_.randbytes(500).hex()}" for _ in range(rows)]
    out = io.BytesIO()
    pq.write_table(pa.table({column: texts}), out, compression="none", row_group_size=64)
    return out.getvalue()


SHARDS = {PATTERN.format(i): parquet(i) for i in range(5)}
FIRST = PATTERN.format(0)


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def served():
    files = Files()
    for name, content in SHARDS.items():
        files.put(name, content)
    with serving(files):
        yield files


@pytest.fixture
def published(served, tmp_path_factory):
    """The server has a manifest beside its shards: four to train on, one held out."""
    away = tmp_path_factory.mktemp("away")
    for name, content in SHARDS.items():
        (away / name).write_bytes(content)
    splits = {name: "val" if name == PATTERN.format(4) else "train" for name in SHARDS}
    path = shards.adopt(away, name="edu", source="made by hand", files=splits)
    served.put("manifest.json", path.read_bytes())
    return served


def get(served, directory, name=PATTERN, **given):
    given = {"patience": HASTY, **given}
    return shards.load(download(directory, f"{served.address}/{name}", **given))


def held(directory):
    return {path.name for path in directory.iterdir()} - {".download.lock"}


def part_of(directory, name):
    return directory / ".download" / f"{quote(name, safe='')}.part"


def test_numbered_files_become_a_data_set_whose_next_one_is_held_out(served, tmp_path):
    manifest = get(served, tmp_path / "data", shards=2)
    files = [(shard.file, shard.split) for shard in manifest.shards]
    assert files == [(PATTERN.format(i), split) for i, split in ((0, "train"), (1, "train"), (2, "val"))]
    assert all((tmp_path / "data" / file).read_bytes() == SHARDS[file] for file, _ in files)
    shards.verify(manifest)
    assert [manifest.address(shard) for shard in manifest.shards] == [
        f"{served.address}/{file}" for file, _ in files
    ]
    assert held(tmp_path / "data") == {"manifest.json", *(file for file, _ in files)}
    again = shards.measure(tmp_path / "data" / FIRST, file=FIRST, split="train")
    assert manifest.shards[0] == again and again.rows == 200


def test_another_held_out_shard_and_other_ways_to_write_the_place(served, tmp_path):
    manifest = get(served, tmp_path, "shard_{index:05d}.parquet", shards=1, val_shard=4)
    assert [shard.file for shard in manifest.shards] == [FIRST, PATTERN.format(4)]
    served.put("7/x.parquet", parquet(7))
    served.put("8/x.parquet", parquet(8))
    nested = {f"/{i}/x.parquet": served.content[f"/{i + 7}/x.parquet"] for i in (0, 1)}
    served.content.update(nested)
    manifest = get(served, tmp_path / "nested", "{}/x.parquet", shards=1)
    assert [shard.file for shard in manifest.shards] == ["0/x.parquet", "1/x.parquet"]
    assert manifest.address(manifest.shards[1]) == f"{served.address}/1/x.parquet"


def test_what_is_there_is_not_fetched_again(served, tmp_path):
    first = get(served, tmp_path, shards=2)
    asked = len(served.seen)
    assert get(served, tmp_path, shards=2) == first
    assert len(served.seen) == asked == 3


def test_more_shards_keep_those_that_are_there(served, tmp_path):
    get(served, tmp_path, shards=1, val_shard=4)
    manifest = get(served, tmp_path, shards=3, val_shard=4)
    assert len(manifest.of_split("train")) == 3
    assert all(len(served.asked(name)) == 1 for name in SHARDS if name != PATTERN.format(3))


def test_a_manifest_brings_its_first_shards_and_all_that_is_held_out(published, tmp_path):
    manifest = get(published, tmp_path / "two", "manifest.json", shards=2)
    assert [(shard.file, shard.split) for shard in manifest.shards] == [
        (PATTERN.format(0), "train"),
        (PATTERN.format(1), "train"),
        (PATTERN.format(4), "val"),
    ]
    assert not published.asked(PATTERN.format(2)) and manifest.url == f"{published.address}/"
    whole = get(published, tmp_path / "all", "manifest.json")
    assert whole.hash == json.loads(published.content["/manifest.json"])["hash"] != manifest.hash
    assert (whole.name, whole.source) == ("edu", "made by hand")
    shards.verify(whole)


def test_a_broken_connection_is_gone_on_from_where_it_broke(served, tmp_path):
    served.fail(FIRST, breaks_off(70_000), breaks_off(20_000))
    get(served, tmp_path, shards=1)
    first, second, third = served.asked(FIRST)
    assert (first.range, first.status, first.sent) == (None, 200, 70_000)
    assert (second.range, second.status, second.sent) == ("bytes=70000-", 206, 20_000)
    assert (third.range, third.status) == ("bytes=90000-", 206)
    assert third.if_range == served.tags[f"/{FIRST}"]
    assert first.sent + second.sent + third.sent == len(SHARDS[FIRST])
    assert (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


def test_tries_that_get_further_do_not_use_up_the_patience(served, tmp_path):
    served.fail(FIRST, *[breaks_off(1_000)] * 10)
    get(served, tmp_path, shards=1, patience=replace(HASTY, tries=2))
    assert len(served.asked(FIRST)) == 11
    served.fail(PATTERN.format(2), breaks_off(1_000), *[breaks_off(0)] * 10)
    with pytest.raises(Failed, match=r"failed 3 times .*: what has come is kept"):
        get(served, tmp_path, shards=2)
    assert len(served.asked(PATTERN.format(2))) == 4


def test_a_server_without_ranges_gives_the_whole_again(served, tmp_path):
    served.ranges = False
    served.fail(FIRST, breaks_off(70_000))
    get(served, tmp_path, shards=1)
    first, second = served.asked(FIRST)
    assert (first.sent, second.range, second.status, second.sent) == (
        70_000,
        "bytes=70000-",
        200,
        len(SHARDS[FIRST]),
    )
    assert (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changed_after_the_break_is_begun_anew(served, tmp_path, capsys, heeds_if_range):
    served.heeds_if_range = heeds_if_range
    other = parquet(99)

    def breaks_off_and_changes(handler, seen):
        handler.give(seen, 70_000)
        served.put(FIRST, other, tag='"other"')
        return True

    served.fail(FIRST, breaks_off_and_changes)
    get(served, tmp_path, shards=1)
    statuses = [(seen.range is not None, seen.status) for seen in served.asked(FIRST)]
    expected = [(False, 200), (True, 200)] if heeds_if_range else [(False, 200), (True, 206), (False, 200)]
    assert statuses == expected
    said = capsys.readouterr().out
    assert ("has changed since its first part came" in said) is not heeds_if_range
    assert "is no shard" not in said
    assert (tmp_path / FIRST).read_bytes() == other


def test_a_file_whose_state_nothing_tells_is_begun_anew(served, tmp_path):
    del served.tags[f"/{FIRST}"]
    served.fail(FIRST, breaks_off(70_000))
    get(served, tmp_path, shards=1)
    assert [seen.range for seen in served.asked(FIRST)] == [None, None]
    assert (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


def test_a_range_that_is_none_any_more_is_asked_for_from_the_beginning(served, tmp_path):
    served.fail(FIRST, breaks_off(70_000), answers(416))
    get(served, tmp_path, shards=1)
    assert [seen.status for seen in served.asked(FIRST)] == [200, 416, 200]
    assert (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


def test_a_call_goes_on_with_the_part_of_an_earlier_one_but_not_with_that_of_another_address(
    served, tmp_path
):
    served.fail(FIRST, breaks_off(70_000), *[answers(503)] * 3)
    with pytest.raises(Failed):
        get(served, tmp_path, shards=1)
    part = part_of(tmp_path, FIRST)
    assert part.read_bytes() == SHARDS[FIRST][:70_000] and not (tmp_path / FIRST).exists()
    served.put(f"mirror/{FIRST}", SHARDS[FIRST])
    served.put(f"mirror/{PATTERN.format(1)}", SHARDS[PATTERN.format(1)])
    served.fail(f"mirror/{FIRST}", answers(404))
    with pytest.raises(shards.DataProblem):
        get(served, tmp_path, f"mirror/{PATTERN}", shards=1)
    assert served.asked(f"mirror/{FIRST}")[0].range is None
    get(served, tmp_path, shards=1)
    assert served.asked(FIRST)[-1].range == "bytes=70000-"
    assert (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


def test_a_part_that_is_whole_is_not_asked_for(published, tmp_path):
    published.fail(FIRST, gives(b"", {"ETag": '"x"'}))
    part = part_of(tmp_path, FIRST)
    part.parent.mkdir()
    part.write_bytes(SHARDS[FIRST])
    note = {"address": f"{published.address}/{FIRST}", "tag": '"x"', "length": len(SHARDS[FIRST])}
    part.with_name(f"{FIRST}.json").write_text(json.dumps(note))
    shards.verify(get(published, tmp_path, "manifest.json"))
    assert not published.asked(FIRST)


def test_other_bytes_than_the_manifests_are_fetched_once_more_and_then_refused(published, tmp_path, capsys):
    other = SHARDS[FIRST][:-1] + b"x"
    published.put(FIRST, other)
    with pytest.raises(shards.DataProblem, match="has SHA-256") as caught:
        get(published, tmp_path, "manifest.json", workers=1)
    assert [seen.sent for seen in published.asked(FIRST)] == [len(other)] * 2
    known = json.loads(published.content["/manifest.json"])["shards"][0]["sha256"]
    assert known in str(caught.value) and "\n" not in str(caught.value)
    assert not part_of(tmp_path, FIRST).exists() and held(tmp_path) == {".download"}
    published.put(FIRST, SHARDS[FIRST])
    published.fail(FIRST, gives(other))
    shards.verify(get(published, tmp_path, "manifest.json"))
    assert len(published.asked(FIRST)) == 4 and "it is fetched once more" in capsys.readouterr().out


def test_rows_that_are_not_as_many_as_the_manifest_says_are_refused(published, tmp_path):
    raw = json.loads(published.content["/manifest.json"])
    raw["shards"][0]["rows"] += 1
    published.put("manifest.json", json.dumps(raw).encode())
    with pytest.raises(shards.DataProblem, match=r"has 200 rows; .* says 201"):
        get(published, tmp_path, "manifest.json")


def test_a_corrupt_file_is_found_by_its_hash_and_fetched_again(published, tmp_path, capsys):
    get(published, tmp_path, "manifest.json")
    path = tmp_path / FIRST
    path.write_bytes(path.read_bytes()[:-1])
    shards.verify(get(published, tmp_path, "manifest.json"))
    counts = [len(published.asked(name)) for name in SHARDS]
    assert counts == [2, 1, 1, 1, 1]
    assert f"{FIRST} here is not what it must be" in capsys.readouterr().out


def test_what_an_interrupted_download_finished_is_kept_and_checked(served, tmp_path):
    served.fail(PATTERN.format(2), answers(404), answers(404))
    for corrupt in (False, True):
        with pytest.raises(shards.DataProblem, match="404"):
            get(served, tmp_path, shards=2, workers=1)
        assert held(tmp_path) == {".download", FIRST, PATTERN.format(1)}
        assert len(served.asked(FIRST)) == len(served.asked(PATTERN.format(1))) == 1
        if corrupt:
            (tmp_path / FIRST).write_bytes(b"corrupt")
    shards.verify(get(served, tmp_path, shards=2))
    assert (len(served.asked(FIRST)), len(served.asked(PATTERN.format(1)))) == (2, 1)


def test_a_source_that_changed_since_the_first_download_is_refused_until_the_manifest_goes(served, tmp_path):
    get(served, tmp_path, shards=1)
    served.put(FIRST, parquet(99))
    assert get(served, tmp_path, shards=1)  # what is there is right
    (tmp_path / FIRST).unlink()
    with pytest.raises(shards.DataProblem, match="of an earlier download, which may be removed"):
        get(served, tmp_path, shards=1)
    (tmp_path / "manifest.json").unlink()
    get(served, tmp_path, shards=1)
    assert (tmp_path / FIRST).read_bytes() == parquet(99)


def test_a_tokenizer_that_was_trained_on_the_data_stays_named(served, tmp_path):
    tokenizer = shards.TokenizerFile(file="../tokenizer/tokenizer.json", sha256="0" * 64)
    replace(get(served, tmp_path, shards=1), tokenizer=tokenizer).save()
    assert get(served, tmp_path, shards=1).tokenizer == tokenizer
    assert get(served, tmp_path, shards=2).tokenizer is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>sign in</html>", "is no shard"),
        (parquet(0, column="body"), "must be Parquet with a column text"),
    ],
)
def test_what_is_no_shard_is_refused(served, tmp_path, content, said):
    served.put(FIRST, content)
    with pytest.raises(shards.DataProblem, match=said) as caught:
        get(served, tmp_path, shards=1)
    assert "\n" not in str(caught.value)
    assert len(served.asked(FIRST)) == 2 and not (tmp_path / FIRST).exists()


def test_a_server_that_is_busy_is_asked_again_but_not_for_ever(served, tmp_path, capsys):
    served.fail(FIRST, answers(503, {"Retry-After": "9999"}), answers(429))
    get(served, tmp_path, shards=1)
    assert [seen.status for seen in served.asked(FIRST)] == [503, 429, 200]
    assert "503 Service Unavailable; again in 0.02 s" in capsys.readouterr().out
    served.fail(PATTERN.format(2), *[answers(500)] * 9)
    with pytest.raises(Failed, match="failed 3 times"):
        get(served, tmp_path, shards=2)
    assert len(served.asked(PATTERN.format(2))) == HASTY.tries


def test_no_server_is_said_in_one_line(served, tmp_path):
    gone = Files()
    with serving(gone):
        pass
    for name in (PATTERN, "manifest.json"):
        with pytest.raises(Failed, match="Connection refused") as caught:
            get(gone, tmp_path, name, shards=1)
        assert "\n" not in str(caught.value)


def test_a_redirect_is_followed_from_the_middle_too(served, tmp_path):
    name = PATTERN.format(1)
    moved = answers(302, {"Location": f"/{name}"})
    served.fail(FIRST, moved, moved)
    served.fail(name, breaks_off(70_000))
    get(served, tmp_path, shards=1, val_shard=2)
    assert [seen.range for seen in served.asked(name)] == [None, "bytes=70000-"]
    assert (tmp_path / FIRST).read_bytes() == SHARDS[name]


def test_an_answer_in_another_encoding_is_refused(served, tmp_path):
    served.fail(FIRST, gives(b"", {"Content-Encoding": "gzip"}))
    with pytest.raises(shards.DataProblem, match="in the encoding gzip"):
        get(served, tmp_path, shards=1)


def test_two_workers_fetch_at_once_and_one_does_not(served, tmp_path):
    barrier = threading.Barrier(2, timeout=20)
    for name in (FIRST, PATTERN.format(1)):
        served.fail(name, meets(barrier))
    get(served, tmp_path / "two", shards=1, workers=2)
    for name in (FIRST, PATTERN.format(1)):
        served.fail(name, meets(threading.Barrier(2, timeout=0.2)))
    with pytest.raises(shards.DataProblem, match="404"):
        get(served, tmp_path / "one", shards=1, workers=1)


def test_a_second_download_into_a_directory_is_refused(served, tmp_path):
    with (tmp_path / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Failed, match=r"another download into .* is under way"):
            get(served, tmp_path, shards=1)
    get(served, tmp_path, shards=1)


def test_what_a_killed_download_left_of_a_file_is_removed(served, tmp_path):
    left = tmp_path / f".{FIRST}.0123abcd"
    left.write_bytes(b"half")
    get(served, tmp_path, shards=1)
    assert not left.exists() and (tmp_path / FIRST).read_bytes() == SHARDS[FIRST]


def test_ctrl_c_ends_a_download_at_once_and_the_next_call_goes_on(served, tmp_path):
    end = threading.Event()
    served.fail(FIRST, hangs(70_000, end))
    part = part_of(tmp_path / "data", FIRST)
    command = [sys.executable, "-m", "nanochat.dataset", "--root", str(tmp_path), "--shards", "1"]
    command += ["--source", f"{served.address}/{PATTERN}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            # The other file is there: what was sent of the first has had its time to come.
            assert b"1 of 2 files" in process.stdout.readline()
            pause = threading.Event()
            for _ in range(400):
                if part.exists() and part.stat().st_size == 70_000:
                    break
                pause.wait(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=5) == 130  # the server would hold it for 30 s
            assert process.stderr.read() == b""
        finally:
            process.kill()
            end.set()
    assert part.read_bytes() == SHARDS[FIRST][:70_000]
    get(served, tmp_path / "data", shards=1)
    assert served.asked(FIRST)[-1].range == "bytes=70000-" and len(served.asked(PATTERN.format(1))) == 1


def test_a_failure_ends_the_reads_of_the_other_workers(served, tmp_path):
    sent, end = threading.Event(), threading.Event()
    served.fail(FIRST, hangs(70_000, end, sent))

    def is_not_there_once_the_other_is_under_way(handler, seen):
        return sent.wait(timeout=20) and answers(404)(handler, seen)

    served.fail(PATTERN.format(1), is_not_there_once_the_other_is_under_way)
    try:
        with pytest.raises(shards.DataProblem, match="404"):
            get(served, tmp_path, shards=1)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("download-")]
        for thread in threads:
            thread.join(timeout=10)  # the server would hold it for 30 s
        assert not any(thread.is_alive() for thread in threads)
    finally:
        end.set()


def test_a_full_disk_is_one_line_and_exit_code_1(served, tmp_path, capsys):
    part = part_of(tmp_path / "data", FIRST)
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    arguments = ["--root", str(tmp_path), "--source", f"{served.address}/{PATTERN}", "--shards", "1"]
    with pytest.raises(SystemExit) as caught:
        verb.run(dataset.main, arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 1 and served.asked(FIRST)
    assert f"{FIRST} cannot be written (No space left on device)" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (
            PATTERN,
            ["--shards", "9", "--workers", "1"],
            "shard_00005.parquet cannot be had: the server answers 404",
        ),
        (PATTERN, [], "--shards is not given; it must be the number of training shards"),
        (PATTERN, ["--shards", "0"], "--shards is 0; it must be at least 1"),
        (PATTERN, ["--shards", "1", "--workers", "0"], "--workers is 0; it must be at least 1"),
        (PATTERN, ["--shards", "3", "--val-shard", "2"], "--val-shard is 2; it must be at least 3"),
        ("{}/../x.parquet", ["--shards", "1"], "a path below the manifest's directory"),
        ("{}{}.parquet", ["--shards", "1"], "with one place for a number"),
        ("{x}.parquet", ["--shards", "1"], "with one place for a number"),
        ("{:s}.parquet", ["--shards", "1"], "with one place for a number"),
        ("x}.parquet", ["--shards", "1"], "with one place for a number"),
        ("{:.0%}x?key=1", ["--shards", "1"], "without blanks, ? and #"),
        (FIRST, ["--shards", "1"], "the address of a manifest or of numbered files"),
        ("manifest.json", ["--shards", "5"], "--shards is 5; it must be at most 4"),
        ("manifest.json", ["--val-shard", "1"], "--val-shard is 1; it must be left out"),
        ("none/manifest.json", [], "none/manifest.json cannot be had: the server answers 404"),
        (f"{FIRST}/manifest.json", [], "is not JSON"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(published, tmp_path, capsys, source, arguments, message):
    published.content[f"/{FIRST}/manifest.json"] = b"<html>"
    source = f"{published.address}/{source}"
    assert verb.run(dataset.main, ["--root", str(tmp_path / "root"), "--source", source, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nosuch://host/manifest.json", "Protocol not known: nosuch"),
        ("http://me:secret@host/manifest.json", "without user and password"),
        ("http://[/manifest.json", "cannot be asked for"),
        ("file:///nowhere/manifest.json", "is not there"),
        ("memory://{}", "with one place for a number"),
    ],
)
def test_an_address_that_nothing_opens_is_one_line_and_exit_code_2(tmp_path, capsys, source, message):
    assert verb.run(dataset.main, ["--root", str(tmp_path), "--source", source]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_root_that_links_to_a_directory_is_not_written_to(served, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "mine")
    arguments = ["--root", str(tmp_path), "--source", f"{served.address}/{PATTERN}", "--shards", "1"]
    assert verb.run(dataset.main, arguments) == 2
    assert "is a link to" in capsys.readouterr().err and not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries[0].update(file="../../x.parquet"), "below the manifest's directory"),
        (lambda entries: entries[0].update(file=entries[1]["file"]), "names a file twice"),
        (lambda entries: entries[4].update(sha256=entries[1]["sha256"]), "which is trained on"),
        (lambda entries: entries.pop(), "no shard of split val"),
    ],
)
def test_a_manifest_that_would_do_harm_is_refused_before_anything_is_fetched(
    published, tmp_path, change, message
):
    raw = json.loads(published.content["/manifest.json"])
    change(raw["shards"])
    lines = "".join(f"{entry['split']} {entry['sha256']}\n" for entry in raw["shards"])
    raw["hash"] = hashlib.sha256(lines.encode()).hexdigest()
    published.put("manifest.json", json.dumps(raw).encode())
    with pytest.raises(shards.DataProblem, match=message):
        get(published, tmp_path / "data", "manifest.json")
    assert len(published.seen) == 1


def test_numbered_files_that_are_all_the_same_hold_nothing_out(served, tmp_path):
    served.put(PATTERN.format(1), SHARDS[FIRST])
    with pytest.raises(shards.DataProblem, match=r"has the bytes of .*, which is trained on"):
        get(served, tmp_path, shards=1)
    assert "manifest.json" not in held(tmp_path)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_other_schemes_are_opened_by_fsspec(tmp_path, scheme):
    base = f"file://{tmp_path}/away" if scheme == "file" else "memory://away"
    for name, content in SHARDS.items():
        with fsspec.open(f"{base}/{name}", "wb", auto_mkdir=True) as file:
            file.write(content)
    manifest = shards.load(download(tmp_path / "data", f"{base}/{PATTERN}", shards=2))
    assert [shard.file for shard in manifest.shards] == [PATTERN.format(i) for i in range(3)]
    assert (tmp_path / "data" / FIRST).read_bytes() == SHARDS[FIRST]
    with pytest.raises(shards.DataProblem, match=r"shard_00005\.parquet is not there"):
        download(tmp_path / "data", f"{base}/{PATTERN}", shards=5)


def test_a_filesystem_is_read_from_the_middle_while_its_file_is_the_same(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    address = f"file://{path}"
    with Filesystem().open(address, start=0, tag="") as answer:
        assert (answer.start, answer.length) == (0, 10)
        tag = answer.tag
    with Filesystem().open(address, start=4, tag=tag) as answer:
        assert (answer.start, b"".join(answer.chunks)) == (4, b"456789")
    path.write_bytes(b"another")
    with Filesystem().open(address, start=4, tag=tag) as answer:
        assert (answer.start, b"".join(answer.chunks)) == (0, b"another")
    with pytest.raises(Refused, match="is not there"), Filesystem().open(f"{address}y", start=0, tag=""):
        pass


def test_lines_tell_files_bytes_and_speed(capsys):
    meter = Meter(files=2)
    lines = Lines(meter)
    lines.look(0.0)
    meter.came("a", 3_000_000, 3_000_000, 4_000_000)
    lines.look(2.0)
    assert capsys.readouterr().out == ""
    meter.finish("a")
    lines.look(3.0)
    assert capsys.readouterr().out == "1 of 2 files, 3.0 MB came, 1.0 MB/s\n"
    lines.look(12.9)
    assert capsys.readouterr().out == ""
    meter.note("it broke")
    lines.look(13.0)
    assert capsys.readouterr().out.splitlines()[0] == "it broke"


def test_bars_name_the_files_under_way():
    meter = Meter(files=2)
    meter.came("a.parquet", 3_000_000, 3_000_000, 4_000_000)
    meter.note("[it] broke")
    out = io.StringIO()
    with Live(console=Console(file=out, width=100), auto_refresh=False) as live:
        Bars(meter, live).look(1.0)
    assert "[it] broke" in out.getvalue()
    assert "a.parquet" in out.getvalue() and "3.0 MB of 4.0 MB" in out.getvalue()
    assert "0 of 2 files" in out.getvalue()


def test_a_speed_is_that_of_the_last_while():
    rate = Rate()
    assert rate.of(0.0, 0) == 0
    assert rate.of(1.0, 500) == 500
    assert rate.of(1.0 + 2 * RATE_S, 500) == 0
