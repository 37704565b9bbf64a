"""An operator's verbs: what they write, what they say, and what is wrong input."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from curtail_dist.cli.main import main
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.membership.agent.orders import Order, standing_order
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys

KEYS = Keys("day")


def ordered(store: CoordinationStore, site: str = "texas", *, now: datetime | None = None) -> Order | None:
    entries = {entry.key: entry for entry in store.list(KEYS.root).entries}
    return standing_order(KEYS, site, entries, now=now or datetime.now(UTC))


@pytest.mark.parametrize("verb", ["hold", "drain"])
def test_an_order_stands_for_its_site_with_reason_giver_and_expiry(file, store, verb, capsys):
    before = datetime.now(UTC)
    arguments = [verb, "texas", "--config", str(file), "--reason", "a disk is changed", "--for", "2h"]
    assert main(arguments) == 0
    order = ordered(store)
    assert order is not None
    assert (order.kind, order.reason) == (verb, "a disk is changed")
    assert "@" in order.by
    assert order.until is not None
    assert timedelta(hours=2) <= order.until - before < timedelta(hours=2, minutes=1)
    assert ordered(store, "california") is None
    assert ordered(store, now=before + timedelta(hours=3)) is None
    said = capsys.readouterr().out
    assert "a disk is changed" in said
    assert "no agent of the site runs now" in said


def test_a_stop_is_for_every_site_and_comes_before_an_order_for_one(file, store):
    assert main(["hold", "texas", "--config", str(file)]) == 0
    assert main(["stop", "--config", str(file), "--after-commit"]) == 0
    for site in ("texas", "california"):
        order = ordered(store, site)
        assert order is not None
        assert (order.kind, order.after_commit) == ("stop", True)


def test_what_is_released_does_not_stand_any_more(file, store, capsys):
    main(["hold", "texas", "--config", str(file)])
    main(["stop", "--config", str(file)])
    capsys.readouterr()
    assert main(["release", "texas", "--config", str(file)]) == 0
    assert "the run is stopped all the same" in capsys.readouterr().out
    assert main(["release", "--config", str(file)]) == 0
    assert ordered(store) is None
    capsys.readouterr()
    assert main(["release", "--config", str(file)]) == 0
    assert "nothing is changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "stage", "said"),
    [
        ("hold", "on", "stays so until its policy has it leave"),
        ("hold", "joining", "does not start"),
        ("drain", "on", "it is on, and leaves"),
        ("drain", "off", "it is off"),
    ],
)
def test_it_says_what_the_order_comes_to(file, store, verb, stage, said, capsys):
    store.put(KEYS.agent("texas"), AgentState(stage=stage, since=0.0, reason="").encode())
    assert main([verb, "texas", "--config", str(file)]) == 0
    assert said in capsys.readouterr().out


def test_facts_as_json(file, store, capsys):
    assert main(["stop", "--config", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["order"]["kind"] == "stop"
    assert facts["sites"] == {"texas": None, "california": None}


def test_a_user_without_a_name_gives_orders_by_a_number(file, store, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)  # as `docker run --user` has it
    assert main(["drain", "texas", "--config", str(file)]) == 0
    order = ordered(store)
    assert order is not None
    assert order.by.startswith("uid 4000000001@")


@pytest.mark.parametrize("lasts", ["2", "h", "-1h", "0s", "1w"])
def test_a_duration_that_is_none_is_the_users_mistake(file, lasts, capsys):
    assert main(["hold", "texas", "--config", str(file), f"--for={lasts}"]) == 2
    assert "such as 90s, 30m, 2h or 1d" in capsys.readouterr().err


@pytest.mark.parametrize("lasts", ["99999999999d", "3000000d", f"{'9' * 400}s", "36500.1d"])
def test_a_duration_beyond_the_end_of_dates_is_the_users_mistake(file, store, lasts, capsys):
    assert main(["drain", "texas", "--config", str(file), "--for", lasts]) == 2
    said = capsys.readouterr().err
    assert "is longer than 36500d; leave it out for an order that stands until released" in said
    assert said.count("\n") == 1
    assert ordered(store) is None


def test_an_order_may_last_for_a_century(file, store):
    assert main(["hold", "texas", "--config", str(file), "--for", "36500d"]) == 0
    assert ordered(store, now=datetime.now(UTC) + timedelta(days=36_499)) is not None


@pytest.mark.parametrize("verb", ["hold", "drain", "release"])
def test_a_site_that_the_run_file_does_not_name_is_the_users_mistake(file, verb, capsys):
    assert main([verb, "nowhere", "--config", str(file)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_order_survives_its_encoding():
    now = datetime(2026, 3, 21, 17, 5, tzinfo=UTC)
    order = Order(kind="hold", reason="Übung", by="a@b", given=now, until=now + timedelta(seconds=1.5))
    assert Order.decode(order.encode()) == order
    assert "2026-03-21 17:05" in order.bar.reason
