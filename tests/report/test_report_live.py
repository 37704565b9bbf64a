import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from writing import SetClock, site_started

from curtail_dist.clock import SystemClock
from curtail_dist.dashboard.board import Board
from curtail_dist.errors import DataError
from curtail_dist.report.build import summarize
from curtail_dist.report.live import LiveView
from curtail_dist.report.siteview import KEPT
from curtail_dist.report.tail import EventTail
from curtail_dist.telemetry.events import (
    Committed,
    Decided,
    Energy,
    EpochFormed,
    FaultInjected,
    Ordered,
    Phase,
    ReadingSeen,
    Rewound,
    RoundDiscarded,
    RunStarted,
    SignalLost,
    Step,
    StoreFound,
    StoreLost,
    Trouble,
    TroubleOver,
)
from curtail_dist.telemetry.record import EventLog


def shown(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(view.table())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_directory_that_does_not_exist_yet_has_no_events(tmp_path: Path):
    view = LiveView(tmp_path / "later")
    assert view.poll() == []
    assert "waiting for the run" in shown(view)


def test_each_record_is_read_once_however_the_file_grows(day: Path, tmp_path: Path):
    whole = EventTail(day).poll()
    tail = EventTail(tmp_path / "growing")
    (tmp_path / "growing" / "events").mkdir(parents=True)
    found = []
    for file in sorted((day / "events").iterdir()):
        copy = tmp_path / "growing" / "events" / file.name
        data = file.read_bytes()
        for start in range(0, len(data), 5001):  # tears most lines
            with copy.open("ab") as stream:
                stream.write(data[start : start + 5001])
            found += tail.poll()
    assert sorted((r.site, r.process, r.seq) for r in found) == sorted(
        (r.site, r.process, r.seq) for r in whole
    )
    assert tail.poll() == []


def test_a_torn_last_line_waits_for_its_end(day: Path):
    tail = EventTail(day)
    tail.poll()
    file = next((day / "events").glob("texas.agent*"))
    line = file.read_text().splitlines()[-1]
    with file.open("a") as stream:
        stream.write(line[:40])
    assert tail.poll() == []
    with file.open("a") as stream:
        stream.write(line[40:] + "\n")
    assert len(tail.poll()) == 1


@pytest.mark.parametrize("said", ["{broken\n", "{LINE}, {LINE}\n"])
def test_a_whole_line_that_is_no_event_is_refused(day: Path, said: str):
    file = next((day / "events").glob("texas.agent*"))
    line = file.read_text().splitlines()[-1]
    with file.open("a") as stream:
        stream.write(said.replace("{LINE}", line))
    with pytest.raises(DataError, match="no event"):
        EventTail(day).poll()


def test_a_poll_that_is_refused_has_read_nothing(day: Path):
    tail = EventTail(day)
    tail.poll()
    first, *_, last = sorted((day / "events").glob("*.jsonl"))
    line, whole = first.read_text().splitlines()[-1], last.read_bytes()
    with first.open("a") as stream:
        stream.write(line + "\n")
    with last.open("ab") as stream:
        stream.write(b"{broken\n")
    for _ in range(2):
        with pytest.raises(DataError, match="no event"):
            tail.poll()
    last.write_bytes(whole)
    assert len(tail.poll()) == 1


def test_the_view_agrees_with_the_summary(day: Path):
    view = LiveView(day)
    view.poll()
    summary = summarize([day])
    assert view.kg == pytest.approx(summary["emissions_kg"], rel=1e-6)
    assert (view.rows, view.rows_total, view.tokens) == (15_200, 15_200, summary["tokens"])
    assert (view.version, view.epoch, view.finished) == (summary["commits"], summary["epochs"], True)
    assert view.sites["south-australia"].deaths == 1


def test_the_table_shows_each_site_and_the_progress(day: Path):
    view = LiveView(day)
    view.poll()
    text = shown(view)
    assert all(name in text for name in ("california", "texas", "south-australia", "100%", "UTC"))


def test_what_every_member_records_is_told_once_and_without_control_characters(day: Path):
    view = LiveView(day)
    lines = view.lines(view.poll())
    assert all(line.isprintable() for line in lines)
    assert len([line for line in lines if "epoch 3:" in line]) == 1
    assert len([line for line in lines if "run complete" in line]) == 1
    assert [line for line in lines if "DIED" in line] == [
        "22:51  south-australia DIED: SIGKILL; its open round goes back to the pool"
    ]
    versions = [line for line in lines if " version " in line and " by " in line]
    assert len(versions) == view.version // 5


def test_the_next_window_is_the_first_stretch_below_the_threshold(day: Path):
    view = LiveView(day)
    view.poll()
    site = view.sites["california"]
    start, stop = site.next_window(0.0) or (None, None)
    assert (start, stop) == pytest.approx((600.0, 7800.0))
    assert site.next_window(3600.0) == pytest.approx((3600.0, 7800.0))
    assert site.next_window(10 * 3600.0) is None


def test_a_site_without_a_fresh_reading_is_shown_as_unknown(day: Path):
    view = LiveView(day)
    view.poll()
    view.sites["texas"].read(None)
    assert "unknown" in shown(view)


def test_a_line_has_no_control_characters_whatever_a_reason_holds(tmp_path: Path):
    with EventLog(tmp_path, site="texas", process="rank0.1", clock=SystemClock()) as log:
        log.emit(RoundDiscarded(steps=5, rows=20, reason="expelled\x1b[31m\nby epoch 3"))
        log.emit(Decided(action="drain", reason="above 100 g/kWh", g_per_kwh=140.0))
        log.emit(Decided(action="keep", reason="below 100 g/kWh", g_per_kwh=40.0))
        log.emit(SignalLost(reason="stale"))
        log.emit(FaultInjected(kind="kill", target="texas"))
    view = LiveView(tmp_path)
    lines = view.lines(view.poll())
    assert all(line.isprintable() for line in lines)
    assert [line.split("h  ", 1)[1] for line in lines] == [
        "texas discarded 5 steps, 20 rows go back to the pool: expelled [31m by epoch 3",
        "texas: drain: above 100 g/kWh",
        "texas has no fresh reading: stale",
        "fault on purpose: kill texas",
    ]


def test_orders_and_troubles_are_told(tmp_path: Path):
    with EventLog(tmp_path, site="texas", process="agent.1", clock=SetClock()) as log:
        log.emit(Ordered(order="hold", reason="a visit", by="ada", until="2026-03-21T19:00:00+00:00"))
        log.emit(Ordered(order="drain", reason="noise", by="ada"))
        log.emit(Ordered(order="release", reason="", by="ada"))
        log.emit(Trouble(part="provisioner", reason="the queue is closed"))
        log.emit(TroubleOver(part="provisioner", after_s=31.26))
    view = LiveView(tmp_path)
    assert [line.split("h  ", 1)[1] for line in view.lines(view.poll())] == [
        "texas is ordered to hold until 2026-03-21T19:00:00+00:00 by ada: a visit",
        "texas is ordered to drain by ada: noise",
        "texas is released: there is no order for it any more",
        "texas goes on without its provisioner: the queue is closed",
        "texas has its provisioner back after 31.3 s",
    ]


def test_a_parked_site_is_shown_and_draws_idle_power(tmp_path: Path):
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as log:
        log.emit(site_started(train_w=1000.0, idle_w=100.0))
        log.emit(ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace"))
        log.emit(Phase(phase="parked"))
        clock.t = 3600.0
        log.emit(Phase(phase="join"))
    view = LiveView(tmp_path)
    lines = view.lines(view.poll())
    assert view.kg == pytest.approx(0.1 * 50 / 1000)
    assert any("texas is parked" in line for line in lines)
    assert not any("join" in line for line in lines)
    view.sites["texas"].enter("parked")
    assert "parked" in shown(view)


def test_what_a_meter_measured_takes_the_place_of_what_was_modelled(tmp_path: Path):
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as log:
        log.emit(replace(site_started(train_w=1200.0, idle_w=120.0), pue=1.2))
        log.emit(ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace"))
        log.emit(Phase(phase="train"))
        view = LiveView(tmp_path)
        for clock.t in (1000.0, 2000.0):
            log.emit(Step(steps=1, tokens=1, rows=1, loss=None))
            view.poll()
        assert view.kg == pytest.approx(1.2 * (2000 / 3600) * 50 / 1000)
        log.emit(Energy(since=500.0, until=1500.0, joules=1_500_000.0))
        view.poll()
    metered_kwh, modelled_kwh = 1.2 * 1.5 / 3.6, 1.2 * 1000 / 3600
    assert view.kg == pytest.approx((metered_kwh + modelled_kwh) * 50 / 1000)


def test_a_meter_that_agrees_with_the_model_changes_nothing_however_many_steps_it_spans(tmp_path: Path):
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as log:
        log.emit(site_started(train_w=1000.0))
        log.emit(ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace"))
        log.emit(Phase(phase="train"))
        for count in range(1, 2 * KEPT):
            clock.t = 0.1 * count
            log.emit(Step(steps=1, tokens=1, rows=1, loss=None))
        log.emit(Energy(since=0.0, until=clock.t, joules=1000.0 * clock.t))
    view = LiveView(tmp_path)
    view.poll()
    assert view.kg == pytest.approx(clock.t / 3600 * 50 / 1000)


def test_what_a_meter_measured_while_the_site_was_off_is_not_the_runs(tmp_path: Path):
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as log:
        log.emit(site_started())
        log.emit(ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="trace"))
        log.emit(Phase(phase="off"))
        clock.t = 1000.0
        log.emit(Energy(since=0.0, until=1000.0, joules=1e6))
    view = LiveView(tmp_path)
    view.poll()
    assert view.kg == 0.0


def test_a_site_that_trains_on_without_the_store_is_shown_until_it_has_it_back(tmp_path: Path):
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="rank0.1", clock=clock) as log:
        log.emit(Phase(phase="train"))
        clock.t = 60.0
        log.emit(StoreLost(reason="127.0.0.1:2379 does not answer"))
        view = LiveView(tmp_path)
        lost = view.lines(view.poll())
        assert view.sites["texas"].storeless_since == 60.0
        assert "train (no store)" in shown(view)
        log.emit(StoreFound(away_s=31.26))
        found = view.lines(view.poll())
    assert view.sites["texas"].storeless_since is None
    assert "no store" not in shown(view)
    assert lost[0].endswith("texas trains on without the coordination store: 127.0.0.1:2379 does not answer")
    assert found[0].endswith("texas has the coordination store back after 31.3 s")


@pytest.mark.parametrize("phase", ["off", "join", "parked"])
def test_a_site_that_is_away_does_not_train_on_without_the_store(tmp_path: Path, phase: str):
    with EventLog(tmp_path, site="texas", process="rank0.1", clock=SetClock()) as log:
        log.emit(StoreLost(reason="no answer"))
        log.emit(Phase(phase=phase))
    view = LiveView(tmp_path)
    view.poll()
    assert view.sites["texas"].storeless_since is None


def test_a_rewind_is_told_once(tmp_path: Path):
    for name in ("texas", "california"):
        with EventLog(tmp_path, site=name, process="rank0.1", clock=SetClock()) as log:
            log.emit(Rewound(base=4, hash="ab", dropped=2))
    view = LiveView(tmp_path)
    lines = view.lines(view.poll())
    assert [line[9:] for line in lines] == [
        "rewound to version 4: 2 later versions are dropped, their rows go back to the pool"
    ]


def test_a_version_that_is_done_again_after_a_rewind_takes_the_place_of_the_dropped_one(tmp_path: Path):
    def commit(version: int, hash: str, rows: int) -> Committed:
        work = [{"site": "texas", "tokens": rows, "steps": 4, "rows": [[0, rows]], "open": []}]
        return Committed(
            version=version,
            hash=hash,
            tokens=10 * rows,
            rows=rows,
            work=work,
            joiners=[],
            loss=None,
            bytes_sent=0,
            stall_s=0.0,
        )

    view = LiveView(tmp_path, commit_every=1)
    with EventLog(tmp_path, site="texas", process="rank0.1", clock=SetClock()) as log:
        log.place(epoch=1)
        log.emit(commit(4, "aa", 40))
        log.emit(commit(5, "bb", 60))
        view.poll()
        log.place(epoch=3)
        log.emit(commit(5, "cc", 50))
        log.place(epoch=1)
        log.emit(commit(5, "bb", 60))  # written down by a member that slept
        lines = view.lines(view.poll())
    assert (view.version, view.rows, view.tokens) == (5, 50, 500)
    assert [line.partition("texas: ")[2] for line in lines] == ["50 rows", "60 rows"]


def test_a_host_that_lost_its_power_is_off_once_the_others_missed_it(tmp_path: Path):
    clock, view, board = SetClock(), LiveView(tmp_path), Board()
    with (
        EventLog(tmp_path, site="a", process="1", clock=clock) as a,
        EventLog(tmp_path, site="b", process="1", clock=clock) as b,
    ):
        a.emit(RunStarted(run="r", seed=1, start="2026-03-21T17:00:00+00:00", rows=9, virtual=False))
        for log in (a, b):
            log.emit(site_started())
            log.emit(ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="s"))
            log.place(epoch=1)
            log.emit(EpochFormed(members=["a", "b"], reason="joined"))
            log.emit(Phase(phase="train"))
        clock.t = 604.0
        a.place(epoch=2)
        a.emit(EpochFormed(members=["a"], reason="lost"))
        clock.t = 7200.0
        a.emit(Step(steps=1, tokens=10, rows=1, loss=2.0))
    view.poll()
    board.add(EventTail(tmp_path).poll())
    board.catch_up()
    for sites in (view.sites, board.views):
        assert (sites["a"].phase, sites["b"].phase) == ("train", "off")
        assert sites["b"].kg == pytest.approx(sites["a"].kg * 604 / 7200)
