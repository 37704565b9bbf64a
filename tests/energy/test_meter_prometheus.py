import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from curtail_dist.config.meter import MeterConfig
from curtail_dist.energy.meters import MeterUnavailable, open_meter
from curtail_dist.errors import ConfigError


class Prometheus:
    """Answers instant queries as the test says; notes what it was asked."""

    def __init__(self):
        self.status = 200
        self.body = b""
        self.asked = []
        self.headers = []
        self.silent = threading.Event()
        self.silent.set()

    def vector(self, **series):
        result = [{"metric": {"gpu": name}, "value": [1.0, str(value)]} for name, value in series.items()]
        self.data("vector", result)

    def data(self, kind, result):
        self.body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()

    @contextmanager
    def serve(self):
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                double.asked.append(urlsplit(self.path))
                double.headers.append(self.headers)
                double.silent.wait(30)
                self.send_response(double.status)
                self.end_headers()
                self.wfile.write(double.body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(
            target=server.serve_forever, name="prometheus", kwargs={"poll_interval": 0.02}
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            self.silent.set()
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def prometheus():
    return Prometheus()


@pytest.fixture
def opened(prometheus, clock):
    """Open a meter of that server."""
    with prometheus.serve() as url:

        def _open(unit, **keys):
            config = MeterConfig(
                kind="prometheus", url=url, query="draw{a='b'}", unit=unit, covers="rack 4", **keys
            )
            return open_meter(config, clock=clock)

        yield _open


def test_a_counter_of_millijoules_is_asked_as_prometheus_documents_and_added_up(opened, prometheus, clock):
    meter = opened("millijoules")
    prometheus.vector(g0=1_000_000, g1=5_000_000)
    assert meter.read() == 0.0
    prometheus.vector(g0=1_002_000, g1=5_001_000)
    clock.at = 10.0
    assert meter.read() == pytest.approx(3.0)
    asked = prometheus.asked[0]
    assert asked.path == "/api/v1/query"
    assert parse_qs(asked.query) == {"query": ["draw{a='b'}"]}
    assert meter.covers == "rack 4"
    assert meter.source.startswith("Prometheus query draw{a='b'} at http://127.0.0.1:")
    assert meter.stated == 0


def test_a_counter_that_was_reset_makes_one_stretch_unknown_and_then_goes_on(opened, prometheus, clock):
    meter = opened("joules")
    seen = []
    for at, value in ((0.0, 50), (10.0, 80), (20.0, 7), (30.0, 9)):
        clock.at = at
        prometheus.vector(g0=value)
        try:
            seen.append(meter.read())
        except MeterUnavailable:
            seen.append(None)
    assert seen == [0.0, 30.0, None, 32.0]


def test_a_power_is_integrated_by_trapezoids_and_a_long_gap_is_unknown(opened, prometheus, clock):
    meter = opened("watts", max_gap_s=60.0)
    prometheus.data("scalar", [1.0, "1000"])
    assert meter.read() == 0.0
    prometheus.data("scalar", [1.0, "2000"])
    clock.at = 10.0
    assert meter.read() == pytest.approx(15_000.0)
    clock.at = 100.0
    with pytest.raises(MeterUnavailable, match="not read for 90 s"):
        meter.read()
    clock.at = 110.0
    assert meter.read() == pytest.approx(35_000.0)


def test_a_query_that_finds_nothing_is_unknown(opened, prometheus):
    prometheus.vector()
    with pytest.raises(MeterUnavailable, match="there are none"):
        opened("watts").read()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": []}]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "x"]}]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": [], "value": [1, "1"]}]}}',
        b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]}}',
        b'{"data": {"resultType": "matrix", "result": []}}',
        b"\xff\xfe",
    ],
)
def test_a_reply_that_is_no_number_is_unknown(opened, prometheus, body):
    prometheus.body = body
    with pytest.raises(MeterUnavailable):
        opened("watts").read()


@pytest.mark.parametrize("status", [400, 401, 422, 500, 503])
def test_an_error_of_the_server_is_unknown_and_its_words_are_passed_on(opened, prometheus, status):
    prometheus.status, prometheus.body = status, b'{"error": "parse error at char 3"}'
    with pytest.raises(MeterUnavailable, match=f"{status} .*parse error at char 3"):
        opened("watts").read()


def test_a_server_that_is_silent_is_given_up_after_its_time(opened, prometheus):
    prometheus.silent.clear()
    began = time.monotonic()
    with pytest.raises(MeterUnavailable, match="does not answer"):
        opened("watts", timeout_s=0.1).read()
    assert time.monotonic() - began < 5


def test_a_server_that_is_not_there_is_unknown(prometheus, clock):
    with prometheus.serve() as url:
        pass
    config = MeterConfig(kind="prometheus", url=url, query="q", unit="watts", covers="rack 4")
    with pytest.raises(MeterUnavailable, match="does not answer"):
        open_meter(config, clock=clock).read()


def test_a_token_is_sent_and_never_shown(opened, prometheus, monkeypatch):
    monkeypatch.setenv("PDU_TOKEN", "s3cret")
    meter = opened("watts", token_env="PDU_TOKEN")
    prometheus.vector(g0=1)
    meter.read()
    assert prometheus.headers[0]["Authorization"] == "Bearer s3cret"
    prometheus.status = 401
    with pytest.raises(MeterUnavailable) as raised:
        meter.read()
    assert "s3cret" not in f"{raised.value} {meter.source} {raised.value.__cause__}"


def test_a_token_that_is_not_set_is_the_user_s_error(opened, monkeypatch):
    monkeypatch.delenv("PDU_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="PDU_TOKEN and it is not set"):
        opened("watts", token_env="PDU_TOKEN")
