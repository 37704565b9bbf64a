"""What the dashboard keeps of a run: columns of time, the newest lines, nothing that grows without end."""

import json
import math
import random
from itertools import pairwise
from pathlib import Path

import pytest
from dashboard_runs import Pen, commit, founded, site_started, write_run

from curtail_dist.dashboard.board import MOST_EVALUATIONS, MOST_SITES, Board
from curtail_dist.dashboard.course import COLUMNS, PHASES, Course
from curtail_dist.dashboard.log import KEPT, MOST_CHARACTERS
from curtail_dist.dashboard.reckoning import reckoned
from curtail_dist.report.build import summarize
from curtail_dist.report.history import build_history
from curtail_dist.report.tail import EventTail
from curtail_dist.telemetry.record import parse, read_events

TRAIN, SYNC = PHASES.index("train"), PHASES.index("sync")


def records(pen, *lines):
    return [parse(json.loads(line), process="rank-1", place="a test") for line in lines]


def seconds(course, phase):
    return sum(column.phase_s[phase] for column in course.columns.values())


def test_time_in_phases_is_what_the_history_says(tmp_path: Path):
    write_run(tmp_path, sites=2, events=2_000, finished=True)
    board = Board()
    board.add(EventTail(tmp_path).poll())
    board.catch_up()
    history = build_history(read_events(tmp_path))
    for name, site in history.sites.items():
        for phase in ("train", "sync"):
            spent = sum(i.stop - i.start for i in site.intervals if i.phase == phase)
            assert seconds(board.courses[name], PHASES.index(phase)) == pytest.approx(spent)


def test_a_column_has_what_was_emitted_up_to_its_last_event_steps_among_them(tmp_path: Path):
    pen, ends = Pen(tmp_path, "texas"), (10.2, 10.9, 20.5, 30.1)
    site_started(pen)
    pen.write(0.0, "reading", g_per_kwh=360.0, measured_t=0.0, source="trace")
    pen.write(0.0, "phase", phase="train")
    for t in ends:
        pen.write(t, "step", steps=1, tokens=8, rows=1, loss=3.0)
    pen.write(2_500.0, "step", steps=1, tokens=8, rows=1, loss=3.0)  # columns become twice as wide
    for room in (False, True):
        board, found = Board(), EventTail(tmp_path).poll()
        if room:
            board.make_room(found[-1].t)
        board.add(found[:-1])
        board.catch_up()
        columns = board.courses["texas"].columns
        watts_times_grams = 2000.0 * 360.0 / 3.6e6 / 1000
        for at, kg_at in ((10, 10.9), (20, 20.5), (30, 30.1)):
            assert columns[at >> room].kg == pytest.approx(kg_at * watts_times_grams)
        board.add(found[-1:])
        assert board.width == 2.0
        assert board.courses["texas"].columns[5].kg == pytest.approx(10.9 * watts_times_grams)


@pytest.mark.parametrize("seed", range(5))
def test_any_course_keeps_its_sums_however_wide_its_columns_become(seed):
    chance, course, width = random.Random(seed), Course(), 1.0
    changes = sorted(chance.uniform(0, 50_000) for _ in range(200))
    spent = [0.0] * len(PHASES)
    for start, stop in pairwise([*changes, 50_000.0]):
        phase = chance.choice([*PHASES, "off"])
        while stop >= COLUMNS * width:
            width *= 2
        course.widen(width)
        course.enter(start, phase)
        course.extend(stop)
        if phase != "off":
            spent[PHASES.index(phase)] += stop - start
    assert len(course.columns) <= COLUMNS
    assert [seconds(course, phase) for phase in range(len(PHASES))] == pytest.approx(spent)


def test_an_event_that_comes_late_mends_the_columns():
    course = Course()
    course.enter(0.0, "train")
    course.extend(100.0)
    course.enter(40.0, "sync")
    course.extend(100.0)
    assert (seconds(course, TRAIN), seconds(course, SYNC)) == pytest.approx((40.0, 60.0))


def test_time_below_the_threshold_is_counted_and_the_unknown_is_not_zero():
    course = Course()
    course.threshold_g_per_kwh = 100.0
    course.read(0.0, 40.0)
    course.read(10.0, 300.0)
    course.read(20.0, None)
    course.extend(30.0)
    told = [course.columns[index].told(index, 1.0)[1:3] for index in (5, 15)]
    assert told == [[40.0, 100], [300.0, 0]]
    assert course.columns.get(25) is None


def test_a_board_does_not_grow_with_its_events(tmp_path):
    pen, board = Pen(tmp_path, "texas"), Board()
    step = records(pen, pen.line(0.0, "step", steps=1, tokens=1, rows=1, loss=3.0))[0]
    place = dict(vars(step))
    for start in range(0, 30_000, 5_000):
        board.add(type(step)(**{**place, "t": 20.0 * t}) for t in range(start, start + 5_000))
        board.catch_up()
    assert len(board.entries(0)) == KEPT and board.log.count == 30_000
    assert len(board.courses["texas"].columns) <= COLUMNS
    evaluations = (pen.line(1.0, "evaluated", version=v, val_bpb=2.0) for v in range(3 * MOST_EVALUATIONS))
    board.add(records(pen, *evaluations))
    kept = [version for _, version, _ in board.changes(0)["evaluated"]]
    assert len(kept) <= MOST_EVALUATIONS and kept[-1] == 3 * MOST_EVALUATIONS - 1
    many = (Pen(tmp_path, f"s{n}").line(2.0, "phase", phase="train") for n in range(2 * MOST_SITES))
    board.add(records(pen, *many))
    assert len(board.changes(0)["sites"]) == MOST_SITES


ODD = [
    {"event": "step", "steps": 1, "tokens": "many", "rows": 1, "loss": 3.0},
    {"event": "step", "steps": 1, "tokens": 1, "rows": 1, "loss": "low"},
    {"event": "reading", "g_per_kwh": float("nan"), "measured_t": 0.0, "source": ""},
    {"event": "reading", "g_per_kwh": 10.0, "measured_t": float("nan"), "source": ""},
    {"event": "commit", "version": 1},
    {"event": "run_started", "run": "r", "start": "yesterday", "rows": 1},
    {"event": "site_started", "outlook": 3},
    {"event": "epoch", "members": None},
    {"event": "evaluated", "version": 1, "val_bpb": None},
    {"event": "run_started", "run": "r", "start": "2026-01-01", "rows": float("inf")},
    {"event": "phase", "phase": "train", "epoch": "first"},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd["event"])
def test_an_event_that_makes_no_sense_is_counted_and_the_rest_goes_on(tmp_path, odd):
    pen, board = Pen(tmp_path, "texas"), Board()
    fields = {key: value for key, value in odd.items() if key != "event"}
    board.add(records(pen, pen.line(5.0, odd["event"], **fields), pen.line(9.0, "phase", phase="train")))
    board.catch_up()
    told = board.changes(0)
    assert told["facts"]["odd"] == 1 and told["sites"][0]["phase"] == "train"
    assert len(json.dumps([told, [e.line() for e in board.entries(0)]], allow_nan=False)) > 0


@pytest.mark.parametrize("t", [float("nan"), float("inf"), -1e18, 1e15])
def test_no_run_time_makes_a_board_hang_or_say_what_is_no_number(tmp_path, t):
    pen, board = Pen(tmp_path, "texas"), Board()
    line = pen.line(0.0, "phase", phase="train").replace('"t": 0.0', f'"t": {json.dumps(t)}')
    board.add(records(pen, line, pen.line(9.0, "phase", phase="sync")))
    board.catch_up()
    assert json.dumps(board.changes(0), allow_nan=False)


def test_hostile_texts_lose_their_control_characters_and_their_length(tmp_path):
    pen, board = Pen(tmp_path, "texas"), Board()
    bad = "<img src=x onerror=alert(1)>\x1b[31m\u202eabc\n" + "y" * 5_000
    founded(pen, name=bad)
    pen.write(1.0, "ranks_died", reason=bad)
    pen.write(2.0, "an_unknown_kind", what=bad, deep={"a": [bad] * 50})
    board.add(EventTail(tmp_path).poll())
    texts = [entry.text for entry in [e.line() for e in board.entries(0)]]
    assert all(text.isprintable() and len(text) <= MOST_CHARACTERS for text in texts)
    assert "<img src=x onerror=alert(1)>" in texts[1], "it is the page that shows it as text"
    assert board.changes(0)["facts"]["run"].isprintable()


def test_what_is_reckoned_is_the_summarys(tmp_path):
    pens = write_run(tmp_path, sites=2, events=400, finished=True)
    assert pens
    whole, told = summarize([tmp_path]), reckoned([tmp_path])
    assert told["kg"] == whole["emissions_kg"] and told["optimum_kg"] == whole["oracle_schedule_kg"]
    assert set(told["always_on"]) == set(whole["baselines"]) != set()
    alone = [whole["baselines"][name]["emissions_kg"] for name in ("site-00", "site-01")]
    assert told["reference_kg"] == whole["reference_kg"] == pytest.approx(sum(alone) / 2)


def test_the_line_of_the_runs_beginning_is_whole(tmp_path):
    pen, board = Pen(tmp_path, "texas"), Board()
    founded(pen, name="big", rows=1_000)
    board.add(EventTail(tmp_path).poll())
    assert [entry.line().text for entry in board.entries(0)] == ["run big begins: 1,000 rows, seed 1"]


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_loss_that_is_no_number_takes_the_place_of_the_last_that_was_one(tmp_path, odd):
    pen, board = Pen(tmp_path, "texas"), Board()
    losses = (3.0, None, odd)
    steps = (pen.line(1.0, "step", steps=1, tokens=1, rows=1, loss=loss) for loss in losses)
    told = []
    for line in (*steps, pen.line(2.0, "evaluated", version=1, val_bpb=odd)):
        board.add(records(pen, line))
        told.append(json.loads(json.dumps(board.changes(0), allow_nan=False)))
    assert [(one["sites"][0]["loss"], one["sites"][0]["diverged"]) for one in told] == [
        *[(3.0, False)] * 2,
        *[(None, True)] * 2,
    ]
    assert told[-1]["evaluated"] == [[2.0, 1, None]]


def test_what_cannot_be_reckoned_says_why(tmp_path):
    site_started(Pen(tmp_path, "texas"))
    assert "run_started" in reckoned([tmp_path])["problem"]
    with pytest.raises(KeyError):
        reckoned([tmp_path])["kg"]


def test_bytes_and_stall_add_up_over_columns(tmp_path):
    pen, board = Pen(tmp_path, "texas"), Board()
    board.add(records(pen, *(commit(pen, 1.0 * count, count) for count in range(1, 40))))
    board.add(records(pen, pen.line(50_000.0, "phase", phase="off")))  # so that columns become wider
    columns = board.changes(0)["sites"][0]["columns"]
    assert len(columns) == 3
    assert sum(column[8] for column in columns) == 39_000_000 == board.changes(0)["facts"]["bytes_sent"]
    assert sum(column[9] for column in columns) == pytest.approx(19.5)
