"""Sites in wandb, against a server on loopback: each point once, whatever becomes of agent and network."""

import copy
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from wandb_server import WandbServer
from wandb_story import SITES

from curtail_dist.telemetry.curves import OVER, REAL_H, RUN_H, TOKENS, Curves
from curtail_dist.telemetry.numbering import Numbering
from curtail_dist.telemetry.record import read_events

DEADLINE_S = 110.0
STORY = Path(__file__).with_name("wandb_story.py")

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def story(written_day, tmp_path_factory):
    """What wandb_story saw, and the server; the first life but one ends with it silent, the last refused."""
    directory = tmp_path_factory.mktemp("wandb") / "run"
    (directory / "events").mkdir(parents=True)
    for file in (written_day / "events").iterdir():
        (directory / "events" / file.name).write_bytes(file.read_bytes())
    home = directory.parent / "home"
    home.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(WandbServer())
        process = subprocess.Popen(
            [sys.executable, str(STORY), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **server.environment, "HOME": str(home), "NETRC": str(home / "none")},
        )
        try:
            assert process.stdout.readline() == "?\n"
            server.fall_silent()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "?\n"
            server.refuse()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "?\n"
            again = stack.enter_context(WandbServer())
            again.history = copy.deepcopy(server.history)
            said, _ = process.communicate(again.url, timeout=DEADLINE_S)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0
    return {**json.loads(said), "server": server, "again": again, "directory": directory}


def wanted(directory, site, share):
    """The points of a site, by step, as far as the record was then."""
    records = read_events(directory)
    curves = Curves(rows=10_000, shards=8)
    numbers = Numbering(directory / "wandb" / f"{site}.numbers.jsonl")
    own = [record for record in records[: int(len(records) * share)] if record.site == site]
    points = {number: curves.point(record) for number, record in numbers.numbered(own)}
    return {number: point for number, point in points.items() if point}


def id_of(story, site):
    return Numbering(story["directory"] / "wandb" / f"{site}.numbers.jsonl").id


def test_two_sites_of_a_process_are_two_wandb_runs_of_one_group(story):
    ids = [id_of(story, site) for site in SITES]
    assert len(set(ids)) == 2
    assert story["server"].groups == dict.fromkeys(ids, "day")


@pytest.mark.parametrize("site", SITES)
def test_an_agent_that_is_started_again_goes_on_with_the_same_run_and_no_point_comes_twice(story, site):
    points = story["server"].history[id_of(story, site)]
    steps = [point["_step"] for point in points]
    assert steps == sorted(set(steps))
    half = wanted(story["directory"], site, 0.5)
    assert [step for step in steps if step in half] == sorted(half)
    assert all({**point, **half.get(point["_step"], {})} == point for point in points)


@pytest.mark.parametrize("site", SITES)
def test_what_the_network_lost_is_on_the_disk(story, site):
    kept = [one for one in story["kept"] if one["id"] == id_of(story, site)]
    counted = Counter(point["_step"] for one in kept if one["offline"] for point in one["points"])
    assert set(counted.values()) == {1}
    every = {point["_step"] for one in kept for point in one["points"]}
    assert sorted(every) == sorted(wanted(story["directory"], site, 1.0))
    assert [one["offline"] for one in kept].count(True) == 2
    assert all(one["group"] == "day" and one["name"] == f"day.{site}" for one in kept)


@pytest.mark.parametrize("site", SITES)
def test_the_next_agent_sends_what_the_network_lost_each_point_once(story, site):
    before = [point["_step"] for point in story["server"].history[id_of(story, site)]]
    whole = sorted(wanted(story["directory"], site, 1.0))
    assert before == whole[: len(before)] != whole
    assert [point["_step"] for point in story["again"].history[id_of(story, site)]] == whole


def test_what_lies_offline_is_sent_by_the_command_that_the_log_says(story, tmp_path):
    said = next(line for line in reversed(story["lines"]) if line.startswith("site texas: "))
    paths = Path(said.partition("; wandb sync ")[2].partition(" sends them")[0])
    files = sorted(map(str, paths.parent.glob(paths.name)))
    with WandbServer() as server:
        command = [sys.executable, "-m", "wandb", "sync", *files]
        environment = {**os.environ, **server.environment, "HOME": str(tmp_path)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        steps = [point["_step"] for point in server.history[id_of(story, "texas")]]
    kept = [one for one in story["kept"] if one["id"] == id_of(story, "texas") and one["offline"]]
    assert len(files) == len(kept) == 2
    assert steps == sorted(point["_step"] for one in kept for point in one["points"]) != []


def test_a_network_that_is_gone_holds_nobody_up(story):
    assert story["cut"]["close_s"] < 2 * 1.0 + 3.0
    for life in ("silent", "refused"):
        assert 3.0 < story[life]["whole_s"] < 20.0
    assert story["server"].unanswered > 0


def test_the_log_says_where_a_run_lies(story):
    texas = id_of(story, "texas")
    lines = [line for line in story["lines"] if line.startswith("site texas: ")]
    assert len(lines) == 5
    assert all(line.endswith(f"/me/curtail/runs/{texas}") for line in lines[:3])
    assert all("wandb's server did not take the run" in line for line in lines[3:])
    assert all(f"; its curves are written to {story['directory']}/wandb/" in line for line in lines[3:])


def test_every_curve_can_be_drawn_over_tokens_run_time_and_real_time(story):
    for one in filter(lambda one: one["points"], story["kept"]):
        assert one["over"] == {TOKENS: "", RUN_H: "", REAL_H: "", **{f"{g}/*": x for g, x in OVER.items()}}
        for point in one["points"]:
            assert {TOKENS, RUN_H, REAL_H, "_timestamp"} <= point.keys()
    drawn = {name.partition("/")[0] for one in story["kept"] for point in one["points"] for name in point}
    assert {"step", "commit", "round", "evaluated", "reading", "joined"} <= drawn
