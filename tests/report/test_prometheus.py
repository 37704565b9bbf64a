"""What an agent tells Prometheus of its sites, and that telling it touches nobody."""

import math
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from metered import write_metered
from prometheus_client.parser import text_string_to_metric_families
from writing import SetClock, site_started

from curtail_dist.config import TelemetryConfig
from curtail_dist.energy.stages import Stage
from curtail_dist.errors import ConfigError
from curtail_dist.report.accounts import reckon
from curtail_dist.report.energycounter import LAG_S
from curtail_dist.report.history import build_history
from curtail_dist.report.metrics import COUNTERS, GAUGES, SiteMetrics, served_metrics
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.prometheus import DEADLINE_S, MetricsEndpoint
from curtail_dist.telemetry.record import EventLog, Record, read_events
from curtail_dist.telemetry.sinks import feed

FREE = "127.0.0.1:0"


def scraped(address: str) -> dict[tuple[str, ...], float]:
    """(sample's name, run, site, further labels...) -> value, read as Prometheus reads it."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(records: Iterable[Record], *, site: str) -> SiteMetrics:
    metrics = SiteMetrics(run="day", site=site)
    feed(records, metrics, site=site)
    return metrics


def soon(holds, *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


def records_of(*events: tuple[float, ev.Event], tmp_path: Path) -> list[Record]:
    clock = SetClock()
    with EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as log:
        for t, event in events:
            clock.t = t
            log.emit(event)
    return read_events(tmp_path)


def test_a_day_is_told_with_names_helps_types_and_labels_as_prometheus_wants_them(day: Path):
    with served_metrics(FREE, day, run="day", sites=["texas"]) as endpoint:
        soon(lambda: ("curtail_run_finished", "day", "texas") in scraped(endpoint.address))
        with urllib.request.urlopen(f"http://{endpoint.address}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            found = list(text_string_to_metric_families(answer.read().decode()))
    described = COUNTERS | GAUGES
    for family in found:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.documentation == described[name].help
        assert family.type == ("counter" if name in COUNTERS else "gauge")
        further = [described[name].label] if described[name].label else []
        for sample in family.samples:
            assert set(sample.labels) == {"run", "site", *further}
            assert (sample.labels["run"], sample.labels["site"]) == ("day", "texas")
    assert len(found) > 20


def test_names_follow_the_conventions():
    assert not set(COUNTERS) & set(GAUGES)
    assert all(name.startswith("curtail_") and name == name.lower() for name in COUNTERS | GAUGES)
    assert all(name.endswith("_total") for name in COUNTERS)
    assert not any(name.endswith(("_total", "_count", "_sum", "_bucket")) for name in GAUGES)


def test_counters_are_what_the_events_add_up_to(day: Path):
    records = read_events(day)
    for site in ("california", "texas", "south-australia"):
        own = [record for record in records if record.site == site]
        published = told(records, site=site).published

        def of(event: str, own: list[Record] = own) -> list[Record]:
            return [record for record in own if record.event == event]

        expected = {
            "curtail_tokens_total": sum(r["tokens"] for r in of("step")),
            "curtail_inner_steps_total": sum(r["steps"] for r in of("step")),
            "curtail_rounds_total": len(of("commit")),
            "curtail_stall_seconds_total": sum(r["stall_s"] for r in of("commit")),
            "curtail_bytes_sent_total": sum(r["bytes_sent"] for r in of("commit")),
            "curtail_joins_total": len(of("joined")),
            "curtail_drains_total": len(of("drained")),
            "curtail_deaths_total": len(of("ranks_died")),
            "curtail_version": of("commit")[-1]["version"],
            "curtail_last_event_timestamp_seconds": max(r.wall for r in own).timestamp(),
        }
        assert {name: published[name][""] for name in expected} == expected
    assert sum(record.event == "ranks_died" for record in records) == 1


@pytest.mark.parametrize("metered", [False, True])
def test_energy_and_emissions_are_those_of_the_report(day: Path, tmp_path: Path, metered: bool):
    directory = write_metered(tmp_path / "metered") if metered else day
    records = read_events(directory)
    history = build_history(records)
    accounts = reckon(history)
    for site, energy in accounts.sites.items():
        last = max(record.t for record in records)
        # One more event, so that nothing waits any more.
        after = Record(
            event="planned",
            site=site,
            epoch=0,
            round=0,
            t=last + 2 * LAG_S,
            wall=records[-1].wall,
            seq=0,
            process="z",
        )
        published = told([*records, after], site=site).published
        for phase, kwh in energy.energy_kwh.items():
            drawn = published["curtail_energy_joules_total"][phase]
            assert drawn == pytest.approx(kwh * 3.6e6, rel=1e-3, abs=1.0), (site, phase)
        if not metered:  # of this one no reading was written, only an outlook
            grams = published["curtail_emissions_grams_total"][""]
            assert grams == pytest.approx(1000 * energy.emissions_kg, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_no_counter_falls_while_files_grow_or_when_an_agent_begins_anew(tmp_path: Path, day: Path, seed: int):
    chance = random.Random(seed)
    directory = write_metered(tmp_path / "metered") if seed else day
    records = read_events(directory)
    site = records[-1].site
    metrics = SiteMetrics(run="r", site=site)
    seen: dict[tuple[str, str], float] = {}
    begin = 0
    while begin < len(records):
        stop = begin + chance.randint(1, max(2, len(records) // 20))
        feed(records[begin:stop], metrics, site=site)
        begin = stop
        for again in (metrics, told(records[:stop], site=site)):
            now = {
                (name, label): value
                for name in COUNTERS
                for label, value in again.published.get(name, {}).items()
            }
            assert not {key: (seen[key], now.get(key)) for key in seen if now.get(key, -1.0) < seen[key]}
            seen = now
    assert seen["curtail_energy_joules_total", "train"] > 0


def test_files_that_are_read_in_turns_give_the_same_energy_as_files_that_are_read_at_once(tmp_path: Path):
    """What one process wrote is seen some seconds after what another wrote later."""
    clock, live = SetClock(), SiteMetrics(run="r", site="texas")
    with (
        EventLog(tmp_path, site="texas", process="agent.1", clock=clock) as agent,
        EventLog(tmp_path, site="texas", process="rank-2", clock=clock) as ranks,
    ):
        agent.emit(site_started(train_w=1000.0, idle_w=100.0))
        for t in range(10, 400, 10):
            clock.t = float(t)
            ranks.emit(ev.Phase(phase=("train", "sync")[t // 10 % 2]))
            clock.t += LAG_S / 2
            agent.emit(ev.ReadingSeen(g_per_kwh=float(t), measured_t=clock.t, source="trace"))
    records = read_events(tmp_path)
    unseen = list[Record]()
    for record in records:
        if record.process == "agent.1":
            feed([record], live, site="texas")
        feed(unseen, live, site="texas")  # the ranks' of before
        unseen = [record] if record.process != "agent.1" else []
    for name in ("curtail_energy_joules_total", "curtail_emissions_grams_total"):
        assert live.published[name] == told(records, site="texas").published[name]


def test_what_a_meter_tells_is_counted_once_and_what_it_does_not_by_the_model(tmp_path: Path):
    started = replace(site_started(train_w=1000.0, idle_w=100.0), pue=2.0)
    records = records_of(
        (0.0, started),
        (0.0, ev.MeterOpened(source="a meter", covers="all")),
        (0.0, ev.ReadingSeen(g_per_kwh=360.0, measured_t=0.0, source="trace")),
        (0.0, ev.Phase(phase="train")),
        (100.0, ev.Energy(since=0.0, until=100.0, joules=7_000.0)),  # 70 W in place of the model's 1,000
        (150.0, ev.Energy(since=50.0, until=150.0, joules=9_000.0)),  # half of it once more
        (200.0, ev.Trouble(part="meter", reason="gone")),
        (300.0, ev.Phase(phase="off")),
        (400.0, ev.TroubleOver(part="meter", after_s=200.0)),
        tmp_path=tmp_path,
    )
    published = told(records, site="texas").published
    joules = 2.0 * 7_000.0 + 1_000.0 * 200.0
    assert published["curtail_energy_joules_total"]["train"] == pytest.approx(joules)
    assert published["curtail_emissions_grams_total"][""] == pytest.approx(joules / 3.6e6 * 360.0)


def test_what_is_unknown_is_absent_and_not_zero(tmp_path: Path):
    clock = SetClock()
    metrics = SiteMetrics(run="r", site="texas")
    intensity, up, loss = (
        "curtail_grid_intensity_grams_per_kilowatthour",
        "curtail_signal_up",
        "curtail_loss",
    )
    unread = 0

    def after(*events: ev.Event) -> dict[str, float | None]:
        nonlocal unread
        for event in events:
            clock.t += 60.0
            log.emit(event)
        records = read_events(tmp_path)
        feed(records[unread:], metrics, site="texas")
        unread = len(records)
        return {name: metrics.published.get(name, {}).get("") for name in (intensity, up, loss)}

    with EventLog(tmp_path, site="texas", process="a", clock=clock) as log:
        assert after(site_started()) == {intensity: None, up: None, loss: None}
        assert "curtail_emissions_grams_total" not in metrics.published
        reading = ev.ReadingSeen(g_per_kwh=0.0, measured_t=0.0, source="trace")
        assert after(reading) == {intensity: 0.0, up: 1.0, loss: None}
        step = ev.Step(steps=1, tokens=8, rows=1, loss=2.5)
        assert after(ev.Phase(phase="train"), step)[loss] == 2.5
        assert after(replace(step, loss=None))[loss] == 2.5
        assert after(ev.SignalLost(reason="x"))[intensity] is None
        assert after()[up] == 0.0
        assert after(ev.Phase(phase="off"))[loss] is None
        assert after(reading, site_started()) == {intensity: None, up: None, loss: None}


def test_every_metric_is_told_by_some_event(tmp_path: Path):
    work = {"site": "texas", "tokens": 8, "steps": 1, "rows": [[0, 1]], "open": []}
    commit = ev.Committed(
        version=1, hash="1", tokens=8, rows=1, work=[work], joiners=[], loss=2.0, bytes_sent=9, stall_s=0.1
    )
    events = [
        site_started(),
        ev.ReadingSeen(g_per_kwh=40.0, measured_t=0.0, source="trace"),
        ev.StageEntered(stage="on", reason="green", was="joining", after_s=1.0),
        ev.Joined(version=0, how="founded", wall_s=1.0, causes={"load": 1.0}),
        ev.EpochFormed(members=["texas"], reason="founded"),
        ev.Phase(phase="train"),
        ev.Step(steps=1, tokens=8, rows=1, loss=2.0),
        commit,
        ev.Throughput(version=1, tokens_per_s=8.0, mfu=0.5),
        ev.Evaluated(version=1, val_bpb=1.0),
        ev.Snapshot(version=1, hash="1", size_bytes=8, wall_s=1.0),
    ]
    records = records_of(*((100.0 * at, event) for at, event in enumerate(events)), tmp_path=tmp_path)
    assert told(records, site="texas").published.keys() == (COUNTERS | GAUGES).keys()


def test_stage_phase_and_troubles_are_one_of_a_set(tmp_path: Path):
    records = records_of(
        (0.0, site_started()),
        (1.0, ev.StageEntered(stage="joining", reason="green", was="off", after_s=1.0)),
        (1.0, ev.Phase(phase="join")),
        (2.0, ev.Trouble(part="signal", reason="401")),
        tmp_path=tmp_path,
    )
    published = told(records, site="texas").published
    assert published["curtail_site_stage"] == {one.value: float(one is Stage.JOINING) for one in Stage}
    assert sum(published["curtail_site_phase"].values()) == published["curtail_site_phase"]["join"] == 1.0
    assert sum(published["curtail_trouble"].values()) == published["curtail_trouble"]["signal"] == 1.0


def test_an_agent_of_several_sites_tells_of_each_at_one_port(day: Path):
    with served_metrics(FREE, day, run="day", sites=["texas", "california"]) as endpoint:
        wanted = [("curtail_tokens_total", "day", site) for site in ("texas", "california")]
        soon(lambda: all(scraped(endpoint.address).get(name, 0) > 0 for name in wanted))
        assert ("curtail_tokens_total", "day", "south-australia") not in scraped(endpoint.address)


def test_new_events_are_told_soon(tmp_path: Path):
    with (
        EventLog(tmp_path, site="texas", process="a", clock=SetClock()) as log,
        served_metrics(FREE, tmp_path, run="r", sites=["texas"]) as endpoint,
    ):
        soon(lambda: scraped(endpoint.address).get(("curtail_inner_steps_total", "r", "texas")) == 0)
        log.emit(ev.Step(steps=3, tokens=24, rows=1, loss=math.nan))
        soon(lambda: scraped(endpoint.address)["curtail_inner_steps_total", "r", "texas"] == 3)
        assert math.isnan(scraped(endpoint.address)["curtail_loss", "r", "texas"])


def test_nothing_is_told_before_the_record_was_read_nor_after_nobody_follows_it():
    metrics = SiteMetrics(run="r", site="texas")
    assert metrics.published == {}  # a counter at 0 here would be a reset to Prometheus
    metrics.caught_up()
    assert metrics.published["curtail_tokens_total"] == {"": 0.0}
    metrics.close()
    metrics.close()
    assert metrics.published == {}


def test_records_that_cannot_be_read_withdraw_the_site_until_they_can(tmp_path: Path, caplog):
    broken = tmp_path / "events" / "texas.b.jsonl"
    with (
        EventLog(tmp_path, site="texas", process="a", clock=SetClock()) as log,
        served_metrics(FREE, tmp_path, run="r", sites=["texas"]) as endpoint,
    ):
        log.emit(ev.Drained(version=1))
        soon(lambda: scraped(endpoint.address))
        broken.write_text("{no json\n")
        soon(lambda: "waits, since events cannot be read" in caplog.text)
        soon(lambda: scraped(endpoint.address) == {})
        broken.unlink()
        soon(lambda: scraped(endpoint.address))
        assert scraped(endpoint.address)["curtail_drains_total", "r", "texas"] == 1


def test_a_port_that_is_taken_is_one_clear_error():
    with MetricsEndpoint(FREE, list) as first:
        with pytest.raises(
            ConfigError, match=r"telemetry\.prometheus is 127.0.0.1:.*cannot listen.*free"
        ) as told_:
            MetricsEndpoint(first.address, list)
        assert "\n" not in str(told_.value)
    with MetricsEndpoint(first.address, list):  # which is free once it was closed
        pass


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(ConfigError, match=re.escape("192.0.2.1:9464")):
        MetricsEndpoint("192.0.2.1:9464", list)


def test_a_stranger_that_trickles_or_says_nothing_is_cut_and_others_are_answered():
    over = threading.Event()

    def trickle(stranger: socket.socket) -> None:
        with suppress(OSError):  # once it is cut
            while not over.wait(0.2):
                stranger.sendall(b"G")

    with MetricsEndpoint(FREE, list) as endpoint:
        host, _, port = endpoint.address.rpartition(":")
        with (
            socket.create_connection((host, int(port))) as trickling,
            socket.create_connection((host, int(port))),
        ):
            thread = threading.Thread(target=trickle, args=(trickling,), name="trickle")
            thread.start()
            try:
                assert scraped(endpoint.address) == {}
            finally:
                over.set()
                thread.join()
        closing = time.monotonic()
    assert time.monotonic() - closing < 3 * DEADLINE_S


def test_what_is_no_request_gets_no_metrics():
    with MetricsEndpoint(FREE, list) as endpoint:
        host, _, port = endpoint.address.rpartition(":")
        for said in (
            b"\x16\x03\x01\x00\xff" * 50,
            b"GET " + b"x" * 100_000 + b"\r\n\r\n",
            b"PUT /metrics HTTP/1.0\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), timeout=10) as stranger, suppress(OSError):
                stranger.sendall(said)  # it may be cut before all of this has gone
                stranger.shutdown(socket.SHUT_WR)
                assert b"200 OK" not in stranger.recv(4096)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{endpoint.address}/", timeout=10)
        assert scraped(endpoint.address) == {}


def test_collecting_that_fails_is_no_end_of_the_endpoint():
    failures = iter([ValueError("torn"), None])

    def collect():
        if error := next(failures):
            raise error
        return []

    with MetricsEndpoint(FREE, collect) as endpoint:
        with pytest.raises(OSError):
            scraped(endpoint.address)
        assert scraped(endpoint.address) == {}


def test_closing_twice_is_closing_once():
    endpoint = MetricsEndpoint(FREE, list)
    endpoint.close()
    endpoint.close()
    with pytest.raises(OSError):
        scraped(endpoint.address)


def test_prometheus_is_imported_only_where_it_is_asked_for():
    code = "import sys, curtail_dist.report.metrics; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=50, check=False).returncode == 0


@pytest.mark.parametrize("wrong", ["9464", "127.0.0.1", "127.0.0.1:http", ":9464", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_a_wrong_run_file(wrong: str):
    with pytest.raises(ConfigError, match=r"telemetry\.prometheus is .*HOST:PORT"):
        TelemetryConfig(prometheus=wrong)


def test_metrics_are_off_by_default():
    assert TelemetryConfig().prometheus == ""
