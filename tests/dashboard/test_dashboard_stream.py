"""The dashboard's stream over a real server: all of it, what came since, and what it does with odd files."""

import json
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from dashboard_runs import Pen, commit, founded, site_started, write_run

from curtail_dist.dashboard.follow import Follower

WITHIN_S = 20


@contextmanager
def messages(address, last_id=None):
    """An iterator of (event, id, contents) of a stream, without the lines that say that it lives."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with httpx.stream("GET", f"{address}/events", headers=headers, timeout=WITHIN_S) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _messages(response.iter_lines())


def _messages(lines):
    found = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif "data" in found:
            yield found["event"], found.get("id", ""), json.loads(found["data"])
            found = {}


def first(address, last_id=None):
    """The first picture and its id."""
    with messages(address, last_id) as stream:
        event, named, told = next(stream)
    assert event == "picture"
    return told, named


def until(stream, holds):
    """The first picture of a stream of which something holds; the reading itself has a deadline."""
    for event, named, told in stream:
        if event == "picture" and holds(told):
            return told, named
    raise AssertionError("the stream has ended")


@pytest.fixture
def run(tmp_path):
    """A small run that goes on, and the pen of its site."""
    pen = Pen(tmp_path / "run", "texas")
    founded(pen, name="small", rows=100)
    site_started(pen)
    pen.write(0.0, "reading", g_per_kwh=40.0, measured_t=0.0, source="trace", basis="marginal")
    pen.write(60.0, "phase", phase="train")
    pen.write(120.0, "step", steps=1, tokens=2048, rows=4, loss=3.5)
    return tmp_path / "run", pen


def test_a_page_that_is_new_gets_all_of_the_run(serving, run):
    with serving(run[0]) as address:
        told, _ = first(address)
    assert told["whole"] and told["facts"]["run"] == "small" and told["facts"]["t"] == 120.0
    (site,) = told["sites"]
    assert (site["name"], site["phase"], site["g_per_kwh"], site["loss"]) == ("texas", "train", 40.0, 3.5)
    assert [line[3] for line in told["log"]] == ["step", "phase", "reading", "site_started", "run_started"]


def test_a_new_event_comes_within_a_second_and_alone(serving, run):
    directory, pen = run
    with serving(directory) as address, messages(address) as stream:
        next(stream)
        began = time.monotonic()
        pen.write(180.0, "step", steps=1, tokens=2048, rows=8, loss=2.5)
        told, _ = until(stream, lambda told: told["facts"]["t"] == 180.0)
        assert time.monotonic() - began < 1.0
    assert not told["whole"] and [line[3] for line in told["log"]] == ["step"]
    changed = [column[0] for column in told["sites"][0]["columns"]]
    assert changed == list(range(120, 181)), "columns before the newest event are not sent again"
    assert told["sites"][0]["outlook"] is None


def test_a_page_that_comes_back_gets_what_it_missed(serving, run):
    directory, pen = run
    with serving(directory) as address:
        _, named = first(address)
        pen.write(180.0, "drained", version=3)
        with messages(address, named) as stream:
            told, later = until(stream, lambda told: told["log"])
        assert not told["whole"] and [line[3] for line in told["log"]] == ["drained"] and later != named


@pytest.mark.parametrize("last_id", ["00000000.0.1", "nonsense", "..", "00000000.-1.x", "a.0." + "9" * 40])
def test_a_page_of_another_server_gets_all_of_it(serving, run, last_id):
    with serving(run[0]) as address:
        told, _ = first(address, last_id)
    assert told["whole"] and len(told["log"]) == 5


def test_a_revision_that_was_never_is_answered_with_all_of_it(serving, run):
    with serving(run[0]) as address:
        _, named = first(address)
        told, _ = first(address, named.rpartition(".")[0] + ".999")
    assert told["whole"]


def test_a_torn_last_line_waits_for_its_end(serving, run):
    directory, pen = run
    whole = pen.line(180.0, "phase", phase="sync")
    with serving(directory) as address, messages(address) as stream:
        next(stream)
        with pen.file.open("a", encoding="utf-8") as file:
            file.write(whole[:40])
            file.flush()
            other = Pen(directory, "california")
            other.write(170.0, "phase", phase="join")
            told, _ = until(stream, lambda told: len(told["sites"]) == 2)
            assert told["facts"]["t"] == 170.0 and told["problem"] == ""
            file.write(whole[40:])
        told, _ = until(stream, lambda told: told["facts"]["t"] == 180.0)
    assert told["sites"][1]["phase"] == "sync"


def test_a_line_that_is_no_event_is_told_and_the_picture_stays(serving, run):
    directory, pen = run
    with serving(directory) as address, messages(address) as stream:
        next(stream)
        with pen.file.open("a", encoding="utf-8") as file:
            file.write("[1, 2]\n")
        told, _ = until(stream, lambda told: told["problem"])
    assert "no event" in told["problem"] and told["facts"]["run"] == "small"


def test_another_run_in_the_same_place_begins_anew(serving, run):
    directory, pen = run
    with serving(directory) as address, messages(address) as stream:
        next(stream)
        pen.file.unlink()
        other = Pen(directory, "ohio", "rank-2")
        founded(other, name="second")
        told, _ = until(stream, lambda told: told["facts"]["run"] == "second")
    assert told["whole"] and told["sites"] == [] and [line[3] for line in told["log"]] == ["run_started"]


def test_sites_of_several_directories_are_one_run(serving, run, tmp_path):
    far = Pen(tmp_path / "far", "california")
    site_started(far)
    far.write(90.0, "phase", phase="join")
    with serving(run[0], tmp_path / "far") as address:
        told, _ = first(address)
    assert [line[1] for line in told["log"]] == [120.0, 90.0, 60.0, 0.0, 0.0, 0.0, 0.0], "in order of time"
    assert [site["name"] for site in told["sites"]] == ["california", "texas"]


def test_a_run_that_has_not_begun_is_waited_for(serving, tmp_path):
    with serving(tmp_path / "later") as address, messages(address) as stream:
        _, _, told = next(stream)
        assert told["sites"] == [] and told["facts"]["run"] == ""
        founded(Pen(tmp_path / "later", "texas"), name="begun")
        until(stream, lambda told: told["facts"]["run"] == "begun")


def test_the_log_of_a_long_run_comes_after_its_picture_and_whole(serving, tmp_path):
    write_run(tmp_path, sites=2, events=3_000)
    with serving(tmp_path) as address, messages(address) as stream:
        _, no_id, told = next(stream)
        numbers, named = [line[0] for line in told["log"]], no_id
        while not named:
            event, named, lines = next(stream)
            assert event == "log"
            numbers += [line[0] for line in lines]
    assert no_id == "" and len(told["log"]) == 300
    assert numbers == list(range(told["facts"]["events"], 0, -1))


def test_the_page_comes_with_a_strict_policy_and_from_here_alone(serving, run):
    with serving(run[0]) as address:
        page = httpx.get(address)
        for name in ("page.css", "palette.css", "page.js", "chart.js", "model.js", "log.js"):
            answer = httpx.get(f"{address}/{name}")
            assert answer.status_code == 200 and name in page.text + answer.text + "model.js chart.js"
            assert "http" not in answer.text and "innerHTML" not in answer.text
        assert httpx.post(f"{address}/events").status_code == 405
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert (
        "http" not in page.text and "style=" not in page.text and " on" not in page.text.replace(" one", "")
    )


def test_a_name_of_elsewhere_is_refused(serving, run):
    with serving(run[0]) as address:
        assert httpx.get(f"{address}/events", headers={"Host": "evil.example"}).status_code == 421
        assert httpx.get(address, headers={"Host": "localhost:1"}).status_code == 200


def test_too_many_pages_are_refused(serving, run, monkeypatch):
    monkeypatch.setattr("curtail_dist.dashboard.app.MOST_STREAMS", 1)
    with serving(run[0]) as address, messages(address) as stream:
        next(stream)
        refused = httpx.get(f"{address}/events")
        assert refused.status_code == 503 and "close one" in refused.text


def test_who_waits_for_a_follower_finds_all_there_was_read_also_where_that_was_nothing(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, revisions in (("run", True), ("empty", False)):
        with Follower([tmp_path / name]) as follower:
            follower.wait(WITHIN_S)
            _, revision, caught_up, problem = follower.version
            assert (revision > 0, caught_up, problem) == (revisions, True, "")


def test_a_follower_that_was_never_started_can_be_closed_and_a_closed_one_leaves_no_thread(run):
    Follower([run[0]]).close()
    with Follower([run[0]]) as follower:
        pass
    follower.close()
    assert "dashboard-follower" not in {thread.name for thread in threading.enumerate()}


def test_versions_after_a_rewind_count_by_their_epoch(serving, run):
    directory, pen = run
    with pen.file.open("a", encoding="utf-8") as file:
        file.write(commit(pen, 200.0, 7) + commit(pen, 300.0, 5, epoch=2))
    with serving(directory) as address:
        told, _ = first(address)
    assert told["facts"]["version"] == 5 and told["facts"]["rows"] == 40
