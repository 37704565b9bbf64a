"""Sites leave in order until it is dark, and a third one goes on where they left."""

import signal
from dataclasses import dataclass

import pytest
from lab import ROWS, Lab, sorted_rows
from nursery import Ranks

from curtail_dist.membership.records import Commit
from curtail_dist.state import snapshot

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass
class Day:
    lab: Lab
    ranks: dict[str, Ranks]
    results: dict[str, dict]
    dark: Commit
    """Head while no site lived."""
    end: Commit


@pytest.fixture(scope="module")
def day(make_lab, store) -> Day:
    """Rounds are so long that only a request ends them early."""
    lab = make_lab("day", round={"steps": 1000}, train={"step_s": 0.01})
    start = lab.gate("start")
    a = lab.start("a", f"train.gate={start}")
    lab.until(lambda: lab.events("joined", of=a), "a in the run")
    b = lab.start("b")
    lab.until_ready(store, "b")
    lab.hold("a")
    lab.hold("b")
    start.touch()

    lab.until_held("a")
    lab.until_held("b")
    a.send(signal.SIGTERM)
    lab.release(a)
    lab.until_waiting(a)
    lab.release(b)
    lab.hold("b")
    results = {"a": a.result()}
    lab.until_held("b")
    b.send(signal.SIGTERM)
    lab.release(b)
    results["b"] = b.result()

    def head():
        entry = store.get(lab.keys.head)
        assert entry is not None
        return Commit.decode(entry.value)

    assert not store.list(lab.keys.members).entries, "it is not dark"
    dark = head()
    c = lab.start("c")
    results["c"] = c.result()
    return Day(lab=lab, ranks={"a": a, "b": b, "c": c}, results=results, dark=dark, end=head())


def test_a_drainer_contributes_its_partial_round_and_leaves(day):
    second = day.lab.chain()[2]
    (mine,) = [one for one in second["work"] if one["site"] == "a"]
    (begun,) = [record for record in day.lab.events("round_started", of=day.ranks["a"]) if record.round == 2]
    assert 2 <= mine["steps"] < begun["steps"]
    assert [record["version"] for record in day.lab.events("drained", of=day.ranks["a"])] == [2]


def test_a_drainer_ends_the_others_round_early_too(day):
    (begun,) = [record for record in day.lab.events("round_started", of=day.ranks["b"]) if record.round == 2]
    (work,) = [one for one in day.lab.chain()[2]["work"] if one["site"] == "b"]
    assert work["steps"] < begun["steps"]


def test_the_site_that_stays_goes_on_without_missing_anybody(day):
    epochs = [(record["members"], record["reason"]) for record in day.lab.events("epoch", of=day.ranks["b"])]
    assert epochs == [(["a", "b"], "joined"), (["b"], "left")]
    assert not day.lab.events("peer_missed")
    assert not day.lab.events("round_discarded")


def test_the_last_site_leaves_a_durable_head_behind(day):
    assert not day.dark.complete
    assert day.lab.events("drained", of=day.ranks["b"])[0]["version"] == day.dark.version
    url = str(day.lab.directory / "snapshots")
    assert snapshot.read(url, day.dark.version, day.dark.hash).version.hash == day.dark.hash


def test_after_the_dark_a_third_site_resumes_the_head(day):
    (joined,) = day.lab.events("joined", of=day.ranks["c"])
    assert (joined["how"], joined["version"]) == ("resumed", day.dark.version)
    assert day.end.version == day.dark.version + 1
    assert day.end.parent == day.dark.hash
    assert [work.site for work in day.end.work] == ["c"]
    assert day.end.epoch > day.dark.epoch


def test_no_row_is_lost_or_done_twice_over_the_dark(day):
    assert sorted_rows(row for result in day.results.values() for row in result["seen"])
    assert sorted_rows(day.lab.committed_rows())
    assert len(day.results["c"]["seen"]) == ROWS - day.dark.ledger.rows_done
    for site, ranks in day.ranks.items():
        assert day.lab.steps_done(ranks) == day.lab.steps_committed(site)
