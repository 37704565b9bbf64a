"""What the page tells of a run's course: decisions with their readings, orders and troubles."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from metered import STARTED, energies, write_metered

from curtail_dist.report.build import write_report
from curtail_dist.report.decisions import Decision
from curtail_dist.report.history import SiteHistory, build_history
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import read_events

START = ev.Decided(
    action="start",
    reason="below <100>",
    g_per_kwh=50.0,
    measured_t=540.0,
    source="trace & feed",
    from_forecast=True,
)
DRAIN = ev.Decided(action="drain", reason="held", g_per_kwh=None, by="operator")
KEEP = ev.Decided(action="keep", reason="below", g_per_kwh=50.0)
HELD = ev.Ordered(order="hold", reason="a <visit>", by="ada", until="2026-03-21T19:00:00+00:00")
RELEASED = ev.Ordered(order="release", reason="", by="ada")


def stage(name: str, was: str, after_s: float) -> ev.StageEntered:
    return ev.StageEntered(stage=name, reason="", was=was, after_s=after_s)


def texas(directory: Path) -> SiteHistory:
    return build_history(read_events(directory)).sites["texas"]


def decisions(tmp_path: Path, *said: tuple[float, ev.Event]) -> tuple[Decision, ...]:
    return texas(write_metered(tmp_path / "run", agent=said)).decisions


def test_a_start_and_a_drain_took_what_their_stages_lasted(tmp_path: Path):
    start, drain = decisions(
        tmp_path,
        (600.0, START),
        (600.0, stage("joining", "off", 600.0)),
        (620.0, KEEP),
        (900.0, stage("on", "joining", 300.0)),
        (7100.0, DRAIN),
        (7100.0, stage("draining", "on", 6200.0)),
        (7135.0, stage("off", "draining", 35.0)),
    )
    assert (start.action, start.took_s, start.crossed_s) == ("start", 300.0, None)
    assert (start.g_per_kwh, start.measured_t, start.source) == (50.0, 540.0, "trace & feed")
    assert start.from_forecast
    assert (drain.action, drain.by, drain.took_s, drain.g_per_kwh) == ("drain", "operator", 35.0, None)


def test_a_start_that_a_drain_crossed_took_nothing(tmp_path: Path):
    start, drain = decisions(
        tmp_path,
        (600.0, START),
        (600.0, stage("joining", "off", 600.0)),
        (660.0, DRAIN),
        (660.0, stage("draining", "joining", 60.0)),
        (670.0, stage("off", "draining", 10.0)),
    )
    assert (start.took_s, start.crossed_s) == (None, 60.0)
    assert (drain.took_s, drain.crossed_s) == (10.0, None)


def test_a_decision_whose_outcome_nobody_wrote_down_does_not_take_the_next_ones(tmp_path: Path):
    first, second = decisions(
        tmp_path,
        (600.0, START),
        (3000.0, START),
        (3000.0, stage("joining", "off", 1.0)),
        (3100.0, stage("on", "joining", 100.0)),
    )
    assert (first.took_s, first.crossed_s) == (None, None)
    assert second.took_s == 100.0


def test_a_later_agents_stages_are_its_own(tmp_path: Path):
    run = write_metered(
        tmp_path / "run",
        agent=[(600.0, START), (600.0, stage("joining", "off", 600.0))],
        restarted=[(5000.0, STARTED), (6000.0, stage("on", "joining", 240.0))],
    )
    (start,) = texas(run).decisions
    assert (start.took_s, start.crossed_s) == (None, None)


def test_an_order_lasts_until_the_next_one_and_a_trouble_until_its_own_part_works_again(tmp_path: Path):
    run = write_metered(
        tmp_path / "run",
        agent=[
            (1000.0, HELD),
            (1600.0, RELEASED),
            (2000.0, ev.Trouble(part="signal", reason="503")),
            (2100.0, ev.Trouble(part="store", reason="no route")),
            (2150.0, ev.TroubleOver(part="store", after_s=50.0)),
            (2400.0, ev.TroubleOver(part="signal", after_s=400.0)),
            (3000.0, ev.Trouble(part="meter", reason="gone")),
        ],
        restarted=[(4000.0, ev.TroubleOver(part="meter", after_s=1.0))],
    )
    told = [(one.t, one.text, one.lasted_s) for one in texas(run).incidents]
    assert told == [
        (1000.0, "ada ordered hold, until 2026-03-21T19:00:00+00:00: a <visit>", 600.0),
        (2000.0, "signal failed: 503", 400.0),
        (2100.0, "store failed: no route", 50.0),
        (3000.0, "meter failed: gone", None),
    ]


def words(page: Path) -> str:
    """The page's text, cells and items apart, as a reader has it."""
    text = re.sub(r"<style>.*?</style>", "", page.read_text(), flags=re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    opened = ev.MeterOpened(source="NVML <4>", covers="4 GPUs & fans")
    said = [(600.0, START), (600.0, stage("joining", "off", 600.0)), (900.0, stage("on", "joining", 300.0))]
    trouble = ev.Trouble(part="meter", reason="<lost>")
    return write_report(
        write_metered(
            tmp_path / "run",
            agent=[(0.0, opened), *energies(), *said, (1000.0, HELD), (2000.0, trouble)],
        )
    )


def test_the_page_tells_decisions_orders_and_troubles_with_run_time(page: Path):
    text = words(page)
    assert "0.17 h (17:10) texas start policy below <100> 50.0 0.15 h (17:09)" in text
    assert "trace & feed (forecast) 5.0 min" in text
    assert "0.28 h (17:16) texas ada ordered hold, until 2026-03-21T19:00:00+00:00: a <visit>" in text
    assert "0.56 h (17:33) texas meter failed: <lost> (no end recorded)" in text
    assert "<visit>" not in page.read_text() and "<lost>" not in page.read_text()


def test_the_page_shows_marginal_beside_average_and_what_measured(page: Path):
    text = words(page)
    assert re.search(r"operational, kg CO2 0\.\d{3} 1\.\d{3} embodied, kg CO2e 0\.183 0\.183", text)
    assert "SCI (with embodied), g per million tokens" in text
    assert "NVML <4> 4 GPUs & fans 1.2" in text
    assert "The meter covers 4 GPUs & fans; what else draws power is not counted." in text
    assert "stated, not measured" not in text


def test_a_site_without_a_meter_is_told_as_stated_and_its_unknowns_as_unknown(tmp_path: Path):
    started = replace(STARTED, average=[], embodied_kg=None, lifetime_h=None)
    text = words(write_report(write_metered(tmp_path / "run", started=started)))
    assert "0% stated, not measured not said 1.2 unknown not counted" in text
    assert "SCI (operational only), g per million tokens" in text
    assert "Decisions" not in text and "Orders and troubles" not in text
