"""Each provider against a local server that speaks its documented replies, and fails as it may."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from feeds import Asked, Feed, Reply, dripping, serve, silent

from curtail_dist.config import SignalConfig
from curtail_dist.config.meter import MeterConfig
from curtail_dist.config.signals import UNITS
from curtail_dist.energy.providers.answers import Answer, ProviderFailure
from curtail_dist.energy.providers.carbonintensity import CarbonIntensity
from curtail_dist.energy.providers.electricitymaps import ElectricityMaps
from curtail_dist.energy.providers.general import JsonProvider, PrometheusProvider, VessimProvider
from curtail_dist.energy.providers.live import LiveSignal
from curtail_dist.energy.providers.pointer import resolve
from curtail_dist.energy.providers.watttime import WattTime
from curtail_dist.energy.providers.web import get_json
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.errors import ConfigError, SignalUnavailable

NOW = datetime(2026, 3, 21, 17, 2, tzinfo=UTC)
T = NOW.timestamp()
SECRET = "hunter2-and-more"


@pytest.fixture
def feed() -> Iterator[Feed]:
    with serve() as feed:
        yield feed


@pytest.fixture(autouse=True)
def credentials(monkeypatch) -> None:
    monkeypatch.setenv("WATTTIME_USER", "somebody")
    monkeypatch.setenv("WATTTIME_PASSWORD", SECRET)
    monkeypatch.setenv("ELECTRICITYMAPS_TOKEN", SECRET)
    monkeypatch.setenv("FEED_TOKEN", SECRET)


def moment(minutes: float, of: datetime = NOW) -> str:
    return (of + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def watttime(feed: Feed, **given: Any) -> WattTime:
    feed.replies.setdefault("/login", Reply({"token": "t1"}))
    feed.replies.setdefault(
        "/v3/forecast",
        Reply(
            {
                "data": [
                    {"point_time": moment(-2), "value": 1000.0},
                    {"point_time": moment(3), "value": 100.0},
                ],
                "meta": {"region": "CAISO_NORTH", "units": "lbs_co2_per_mwh", "signal_type": "co2_moer"},
            }
        ),
    )
    return WattTime(SignalConfig(kind="watttime", region="CAISO_NORTH", url=feed.url, **given))


def maps(feed: Feed, **given: Any) -> ElectricityMaps:
    feed.replies.setdefault(
        "/v3/carbon-intensity/latest",
        Reply({"zone": "GB", "carbonIntensity": 120, "datetime": moment(-2), "isEstimated": True}),
    )
    feed.replies.setdefault(
        "/v3/carbon-intensity/forecast",
        Reply({"zone": "GB", "forecast": [{"carbonIntensity": 80, "datetime": moment(58)}]}),
    )
    return ElectricityMaps(SignalConfig(kind="electricitymaps", zone="GB", url=feed.url, **given))


def britain(feed: Feed, **given: Any) -> CarbonIntensity:
    def entry(start: float, forecast: int, actual: int | None) -> dict[str, Any]:
        intensity = {"forecast": forecast, "actual": actual, "index": "moderate"}
        return {"from": moment(start), "to": moment(start + 30), "intensity": intensity}

    data = [entry(-32, 300, 290), entry(-2, 266, None), entry(28, 100, None)]
    feed.replies.setdefault("/intensity", Reply({"data": data}))
    feed.replies.setdefault("/regional", Reply({"data": {"regionid": 12, "data": data}}))
    return CarbonIntensity(SignalConfig(kind="carbonintensity", url=feed.url, **given))


def prometheus(feed: Feed, **given: Any) -> PrometheusProvider:
    result = [{"metric": {"site": "texas"}, "value": [T, "0.123"]}]
    feed.replies.setdefault(
        "/api/v1/query", Reply({"status": "success", "data": {"resultType": "vector", "result": result}})
    )
    config = SignalConfig(kind="prometheus", url=feed.url, query="moer", unit="kg/kWh", **given)
    return PrometheusProvider(config)


def vessim(feed: Feed, **given: Any) -> VessimProvider:
    state = {"microgrid": "texas", "time": moment(0), "p_grid": -5.0, "grid_signals": {"carbon": 42.0}}
    feed.replies.setdefault("/microgrids/texas", Reply(state))
    return VessimProvider(
        SignalConfig(kind="vessim-rest", url=feed.url, grid_signal="carbon", **given), "texas"
    )


def own(feed: Feed, **given: Any) -> JsonProvider:
    said = {"now": {"v": 0.05, "t": T - 60}, "next": [{"v": 0.1, "t": moment(10)}, {"v": 9, "t": moment(-9)}]}
    feed.replies.setdefault("/intensity.json", Reply(said))
    pointers = {"forecast_at": "/next", "forecast_value_at": "/v", "forecast_time_at": "/t"}
    return JsonProvider(
        SignalConfig(
            kind="http",
            url=f"{feed.url}/intensity.json?key=in-the-query",
            value_at="/now/v",
            time_at="/now/t",
            unit="t/MWh",
            headers={"X-Key": "FEED_TOKEN"},
            **{**pointers, **given},
        )
    )


MAKERS = [watttime, maps, britain, prometheus, vessim, own]
every = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


@pytest.mark.parametrize(
    ("make", "points", "basis"),
    [
        (watttime, [(-120, 453.59237), (180, 45.359237)], "marginal"),
        (maps, [(-120, 120.0), (3480, 80.0)], "average"),
        (britain, [(-120, 266.0), (1680, 100.0)], "average"),
        (prometheus, [(0, 123.0)], "marginal"),
        (own, [(-60, 50.0), (600, 100.0)], "marginal"),
    ],
    ids=[make.__name__ for make in MAKERS if make is not vessim],
)
def test_what_it_says_in_grams_a_kwh_and_from_when(feed, make, points, basis):
    provider = make(feed)
    answer = provider.ask(T)
    said = (answer.reading, *answer.expected)
    assert [at - T for at, _ in said] == [at for at, _ in points]
    assert [value for _, value in said] == pytest.approx([value for _, value in points])
    assert provider.basis == basis


@every
@pytest.mark.parametrize(
    ("reply", "says", "refused"),
    [
        (Reply({}, status=401), "401", True),
        (Reply({}, status=403), "403", True),
        (Reply({}, status=500), "500", False),
        (Reply("<html>", status=200), "no JSON", False),
        (Reply({"something": "else"}), None, False),
        (Reply([]), None, False),
    ],
    ids=["401", "403", "500", "no JSON", "other fields", "a list"],
)
def test_a_failure_is_told_and_shows_no_credential(feed, caplog, make, reply, says, refused):
    provider = make(feed)
    for path in list(feed.replies):
        feed.replies[path] = reply
    with caplog.at_level(logging.DEBUG), pytest.raises(ProviderFailure, match=says) as caught:
        provider.ask(T)
    assert caught.value.refused is refused
    shown = f"{caught.value!r} {caught.value} {provider.source} {caplog.text} {vars(provider)!r}"
    assert SECRET not in shown
    assert "in-the-query" not in f"{caught.value} {provider.source} {caplog.text}"


@every
@pytest.mark.parametrize("header", ["120", "date"])
def test_too_many_requests_are_told_with_when_to_ask_again(feed, make, header):
    provider = make(feed)
    in_two_minutes = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    given = {"Retry-After": in_two_minutes if header == "date" else header}
    for path in list(feed.replies):
        feed.replies[path] = Reply({}, status=429, headers=given)
    with pytest.raises(ProviderFailure, match="429") as caught:
        provider.ask(T)
    assert caught.value.retry_after_s == pytest.approx(120.0, abs=30.0)


@every
def test_a_server_that_is_silent_is_left_alone_after_a_while(feed, make):
    with silent() as url:
        nobody = Feed(url)
        with pytest.raises(ProviderFailure, match="does not answer"):
            make(nobody, timeout_s=0.2).ask(T)


def test_a_server_that_drips_is_left_alone_as_one_that_is_silent():
    with dripping() as url:
        provider = JsonProvider(SignalConfig(kind="http", url=url, value_at="/v", timeout_s=0.3))
        with pytest.raises(ProviderFailure, match="whole in time"):
            provider.ask(T)


def test_a_date_to_ask_again_counts_by_the_servers_own_clock(feed):
    provider = prometheus(feed)
    sent = datetime(2001, 1, 1, tzinfo=UTC)
    headers = {"Date": format_datetime(sent, usegmt=True)}
    headers["Retry-After"] = format_datetime(sent + timedelta(seconds=90), usegmt=True)
    feed.replies["/api/v1/query"] = Reply({}, status=429, headers=headers)
    with pytest.raises(ProviderFailure) as caught:
        provider.ask(T)
    assert caught.value.retry_after_s == 90.0


@every
def test_a_server_that_is_not_there_is_told(feed, make):
    with silent() as url:
        pass
    with pytest.raises(ProviderFailure, match="does not answer"):
        make(Feed(url)).ask(T)


def test_watttime_logs_in_once_and_again_where_its_token_is_not_taken_any_more(feed):
    provider = watttime(feed)
    provider.ask(T)
    provider.ask(T)
    logins = [asked for asked in feed.asked if asked.path == "/login"]
    assert len(logins) == 1
    assert logins[0].headers["Authorization"].startswith("Basic ")
    forecasts = [asked for asked in feed.asked if asked.path.startswith("/v3/forecast")]
    assert forecasts[0].headers["Authorization"] == "Bearer t1"
    assert "region=CAISO_NORTH" in forecasts[0].path
    assert "horizon_hours=72" in forecasts[0].path

    good = feed.replies["/v3/forecast"]

    def takes_t2(asked: Asked) -> Reply:
        return good if asked.headers["Authorization"] == "Bearer t2" else Reply({}, status=401)

    feed.replies["/login"], feed.replies["/v3/forecast"] = Reply({"token": "t2"}), takes_t2
    assert provider.ask(T).reading[1] == pytest.approx(453.59237)


def test_what_watttime_says_of_the_moment_it_is_asked_is_its_reading_and_as_old_as_its_list(feed):
    def say(minutes: range) -> None:
        points = [{"point_time": moment(at), "value": 10.0 + at} for at in minutes]
        feed.replies["/v3/forecast"] = Reply({"data": points, "meta": {"units": "lbs_co2_per_mwh"}})

    pound = UNITS["lb/MWh"]
    provider = watttime(feed)
    say(range(-10, 11, 5))
    assert provider.ask(T) == Answer.of(
        (T, 10 * pound), [(T + 300, 15 * pound), (T + 600, 20 * pound)], made_at=T - 600
    )
    signal = LiveSignal(provider, start=NOW, unix_now=lambda: T)
    signal.ask_once()
    assert signal.latest().value == StepFunction.from_points(signal.outlook(300.0)).at(0.0) == 10 * pound
    assert signal.latest().from_forecast is False
    say(range(-25, 11, 5))
    signal.ask_once()
    with pytest.raises(SignalUnavailable, match="25 min old, which is stale"):
        signal.latest()


def test_watttime_in_another_unit_is_refused(feed):
    provider = watttime(feed)
    said = {"data": [{"point_time": moment(0), "value": 1}], "meta": {"units": "percentile"}}
    feed.replies["/v3/forecast"] = Reply(said)
    with pytest.raises(ProviderFailure, match="another unit; they must be in lbs_co2_per_mwh"):
        provider.ask(T)


def test_electricity_maps_without_a_forecast_in_the_plan_tells_the_newest_value(feed):
    provider = maps(feed)
    feed.replies["/v3/carbon-intensity/forecast"] = Reply({}, status=403)
    assert provider.ask(T) == Answer.of((T - 120, 120.0))
    assert provider.ask(T + 300) == Answer.of((T - 120, 120.0))
    forecasts = [asked for asked in feed.asked if "forecast" in asked.path]
    assert len(forecasts) == 1
    assert feed.asked[0].headers["auth-token"] == SECRET


@pytest.mark.parametrize("reply", [Reply({}, status=500), Reply("<html>"), Reply({"forecast": 3})])
def test_a_forecast_of_electricity_maps_that_fails_costs_no_value(feed, reply):
    provider = maps(feed)
    feed.replies["/v3/carbon-intensity/forecast"] = reply
    assert provider.ask(T) == Answer.of((T - 120, 120.0))


def test_a_forecast_of_electricity_maps_is_not_asked_for_before_it_may_be(feed):
    provider = maps(feed)
    feed.replies["/v3/carbon-intensity/forecast"] = Reply({}, status=429, headers={"Retry-After": "1000"})
    for after in (0, 999, 1000):
        provider.ask(T + after)
    asked = [one.path.partition("?")[0].rpartition("/")[2] for one in feed.asked]
    assert asked == ["latest", "forecast", "latest", "latest", "forecast"]


BAD = [None, -1.0, "dirty", True]


def with_a_bad_tail(make: Any, feed: Feed, bad: Any) -> Any:
    """Let a provider's forecast have two good points, a bad one, and a good one."""
    provider = make(feed)
    values = [40.0, 50.0, bad, 60.0]
    if make is watttime:
        points = [{"point_time": moment(m), "value": v} for m, v in zip((-2, 3, 8, 13), values, strict=True)]
        feed.replies["/v3/forecast"] = Reply({"data": points, "meta": {"units": "lbs_co2_per_mwh"}})
    elif make is maps:
        later = zip((58, 118, 178), values[1:], strict=True)
        entries = [{"carbonIntensity": value, "datetime": moment(minutes)} for minutes, value in later]
        feed.replies["/v3/carbon-intensity/forecast"] = Reply({"zone": "GB", "forecast": entries})
    elif make is britain:
        times = zip((-2, 28, 58, 88), values, strict=True)
        data = [
            {"from": moment(m), "to": moment(m + 30), "intensity": {"forecast": v, "actual": None}}
            for m, v in times
        ]
        feed.replies["/intensity"] = Reply({"data": data})
    else:
        later = zip((10, 20, 30), values[1:], strict=True)
        said = {"now": {"v": 0.04, "t": T - 60}, "next": [{"v": v, "t": moment(m)} for m, v in later]}
        feed.replies["/intensity.json"] = Reply(said)
    return provider


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("make", [watttime, maps, britain, own], ids=lambda make: make.__name__)
def test_a_bad_point_of_a_forecast_ends_it_and_costs_no_reading(feed, caplog, make, bad):
    provider = with_a_bad_tail(make, feed, bad)
    signal = LiveSignal(provider, start=NOW, unix_now=lambda: T)
    signal.ask_once()
    signal.ask_once()
    good = provider.ask(T).reading[1]
    assert signal.latest().value == good
    assert [one.value for one in signal.forecast(1e6)][2:] == [], (
        "what comes after the bad point is not known"
    )
    assert len(signal.forecast(1e6)) == 2
    warned = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert warned[0].startswith(f"{provider.source}: its forecast goes no further than a point that is none")


@pytest.mark.parametrize("when", [None, "noon"])
def test_a_point_of_watttime_at_no_time_ends_its_forecast(feed, when):
    provider = watttime(feed)
    times = [moment(-2), moment(3), when, moment(13)]
    points = [{"point_time": at, "value": 10.0} for at in times]
    feed.replies["/v3/forecast"] = Reply({"data": points, "meta": {"units": "lbs_co2_per_mwh"}})
    answer = provider.ask(T)
    assert (answer.reading[0], [at for at, _ in answer.expected]) == (T - 120, [T + 180])


def test_a_forecast_that_an_http_feed_does_not_have_costs_no_reading(feed):
    provider = own(feed)
    feed.replies["/intensity.json"] = Reply({"now": {"v": 0.05, "t": T - 60}, "next": None})
    assert provider.ask(T).reading == (T - 60, 50.0)
    assert provider.ask(T).flaw == "its answer has no list at /next"


@pytest.mark.parametrize("where", ["v", "t"])
def test_a_credential_that_a_server_sends_back_as_a_value_is_not_shown(feed, where):
    provider = own(feed)
    feed.replies["/intensity.json"] = Reply({"now": {"v": 1.0, "t": T, where: SECRET}, "next": []})
    with pytest.raises(ProviderFailure, match="it gives other text as a") as caught:
        provider.ask(T)
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"


def test_britain_by_region_asks_for_the_postcode(feed):
    assert britain(feed, postcode="RG10").ask(T).reading == (T - 120, 266.0)
    assert feed.asked[0].path == "/regional/intensity/2026-03-21T17:02Z/fw48h/postcode/RG10"


def test_britain_by_what_was_measured_where_it_is_known(feed):
    entry = {"from": moment(-2), "to": moment(28), "intensity": {"forecast": 266, "actual": 263}}
    feed.replies["/intensity"] = Reply({"data": [entry]})
    assert britain(feed).ask(T) == Answer.of((T - 120, 263.0))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"resultType": "matrix", "result": []}, "leave the range out"),
        ({"resultType": "vector", "result": []}, "0 series"),
        ({"resultType": "vector", "result": [{}, {}]}, "2 series"),
    ],
)
def test_a_query_that_gives_no_single_number_is_refused(feed, data, says):
    provider = prometheus(feed)
    feed.replies["/api/v1/query"] = Reply({"status": "success", "data": data})
    with pytest.raises(ProviderFailure, match=says):
        provider.ask(T)


def test_a_prometheus_token_is_sent(feed, tmp_path):
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    prometheus(feed, token_file=file).ask(T)
    assert feed.asked[0].headers["Authorization"] == "Bearer from-a-file"


def goes_on(feed: Feed, minutes: float, carbon: float) -> None:
    said = {"time": moment(minutes), "grid_signals": {"carbon": carbon}}
    feed.replies["/microgrids/texas"] = Reply(said)


def test_a_vessim_counts_once_it_was_seen_to_go_on(feed):
    provider = vessim(feed)
    for after in (0, 60):
        with pytest.raises(ProviderFailure, match="not seen to go on yet"):
            provider.ask(T + after)
    goes_on(feed, 1, 43.0)
    assert provider.ask(T + 120) == Answer.of((T + 120, 43.0))
    assert provider.ask(T + 180) == Answer.of((T + 120, 43.0))
    assert provider.basis == "marginal"


def test_a_vessim_that_stands_still_counts_no_more_until_it_goes_on(feed):
    provider = vessim(feed)
    with pytest.raises(ProviderFailure):
        provider.ask(T)
    goes_on(feed, 1, 43.0)
    provider.ask(T + 60)
    assert provider.ask(T + 960) == Answer.of((T + 60, 43.0))
    with pytest.raises(ProviderFailure, match="stood still for 900 s"):
        provider.ask(T + 961)
    with pytest.raises(ProviderFailure, match="not seen to go on yet"):
        provider.ask(T + 962)
    goes_on(feed, 2, 44.0)
    assert provider.ask(T + 970) == Answer.of((T + 970, 44.0))


def test_a_grid_signal_that_vessim_does_not_have_is_named_with_those_it_has(feed):
    provider = vessim(feed)
    feed.replies["/microgrids/texas"] = Reply({"time": moment(1), "grid_signals": {"price": 43.0}})
    with pytest.raises(ProviderFailure, match="no grid signal carbon; it has: price"):
        provider.ask(T)


def test_a_header_holds_what_the_environment_says(feed):
    own(feed).ask(T)
    assert feed.asked[0].headers["X-Key"] == SECRET


@pytest.mark.parametrize("value", [-1, "dirty", None, True, float("nan")])
def test_what_is_no_intensity_is_refused(feed, value):
    feed.replies["/intensity.json"] = Reply({"now": {"v": value, "t": T}, "next": []})
    with pytest.raises(ProviderFailure):
        own(feed).ask(T)


@pytest.mark.parametrize(
    "section",
    [
        {"kind": "watttime", "region": "CAISO_NORTH", "password_env": "NOT_SET"},
        {"kind": "watttime", "region": "CAISO_NORTH", "password_file": Path("/nowhere/password")},
        {"kind": "electricitymaps", "zone": "GB", "token_env": "NOT_SET"},
        {"kind": "http", "url": "http://x", "value_at": "/v", "headers": {"X-Key": "NOT_SET"}},
    ],
)
def test_a_credential_that_is_not_there_is_the_users_mistake(section):
    makers = {"watttime": WattTime, "electricitymaps": ElectricityMaps, "http": JsonProvider}
    with pytest.raises(ConfigError, match=r"missing|cannot be read"):
        makers[section["kind"]](SignalConfig(**section))


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("", {"a/b": [1, {"~": 2}]}), ("/a~1b/0", 1), ("/a~1b/1/~0", 2)],
)
def test_pointers(pointer, found):
    assert resolve({"a/b": [1, {"~": 2}]}, pointer) == found


@pytest.mark.parametrize("pointer", ["/x", "/a~1b/2", "/a~1b/x", "/a~1b/0/y"])
def test_a_pointer_to_nothing_is_a_failure(pointer):
    with pytest.raises(ProviderFailure, match="nothing at"):
        resolve({"a/b": [1, {"~": 2}]}, pointer)


@pytest.mark.parametrize("key", ["signal.url", "meter.url"])
@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://somebody:{SECRET}@127.0.0.1/feed", "without a user and a password"),
        (f"http://somebody:{SECRET}@127.0.0.1:9090", "without a user and a password"),
        (f"http://somebody:{SECRET}/x@127.0.0.1", "a port that is a number"),
        (f"http://[::1/?key={SECRET}", "with a host"),
        (f"http:///?key={SECRET}", "with a host"),
        (f"http://127.0.0.1/?key={SECRET} ", "without blanks"),
    ],
)
def test_an_address_that_holds_a_credential_or_cannot_be_asked_is_refused_and_not_repeated(key, url, says):
    with pytest.raises(ConfigError, match=says) as caught:
        if key == "signal.url":
            SignalConfig(kind="http", url=url, value_at="/value")
        else:
            MeterConfig(kind="prometheus", url=url, query="power", unit="watts", covers="a rack")
    assert key in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (f"http://somebody:{SECRET}@127.0.0.1/", {}),
        (f"http://127.0.0.1:9/?key={SECRET} x", {}),
        (f"http://127.0.0.1:9/?key={SECRET}\u00fc", {}),
        ("", {"X-Key": f"{SECRET}\n{SECRET}"}),
        ("", {"X-Key": f"{SECRET}\u20ac"}),
    ],
)
def test_a_request_that_cannot_be_made_is_told_without_what_is_in_it(feed, url, headers):
    with pytest.raises(ProviderFailure, match="holds characters that none may") as caught:
        get_json(url or feed.url, headers=headers, timeout_s=1.0)
    assert "hunter2" not in f"{caught.value!r}"


def test_times_in_milliseconds_are_read_as_such(feed):
    said = {"now": {"v": 0.05, "t": (T - 60) * 1000}, "next": [{"v": 0.1, "t": (T + 600) * 1000}]}
    feed.replies["/intensity.json"] = Reply(said)
    answer = own(feed).ask(T)
    assert answer.reading == (T - 60, 50.0)
    assert answer.expected == ((T + 600, 100.0),)
