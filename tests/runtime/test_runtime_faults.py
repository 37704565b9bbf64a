"""A site is killed, comes back, and another one hangs: the rest goes on and nothing is lost twice."""

import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from lab import GRACE_S, Lab, sorted_rows
from nursery import Ranks

pytestmark = [
    pytest.mark.integration,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]
TTL_S = 2.0
"""What etcd grants at least."""


@dataclass
class Story:
    """What was done to the run, and when."""

    lab: Lab
    a: Ranks
    killed: Ranks
    again: Ranks
    when: dict[str, datetime] = field(default_factory=dict)
    results: dict[str, dict] = field(default_factory=dict)

    def do(self, what: str, ranks: Ranks, number: signal.Signals) -> None:
        self.when[what] = datetime.now(UTC)
        ranks.send(number)

    def took(self, record, since: str) -> float:
        return (record.wall - self.when[since]).total_seconds()


@pytest.fixture(scope="module")
def story(make_lab, store) -> Story:
    """b is killed inside a round, comes back; then a is stopped for longer than its lease and wakes up."""
    lab = make_lab("faults", train={"step_s": 0.01})
    start = lab.gate("start")
    a = lab.start("a", f"train.gate={start}")
    lab.until(lambda: lab.events("joined", of=a), "a in the run")
    killed = lab.start("b")
    lab.until_ready(store, "b")
    start.touch()

    lab.until_commit(2, of=killed)
    lab.hold("b")
    lab.until_held("b")
    lab.until_waiting(a)
    story = Story(lab=lab, a=a, killed=killed, again=killed)
    lab.hold("a")
    story.do("kill", killed, signal.SIGKILL)
    assert killed.end()[0] == -signal.SIGKILL
    lab.until_held("a")

    lab.release(killed)
    story.again = lab.start("b")
    lab.until_ready(store, "b")
    lab.release(a)
    lab.until(lambda: lab.events("joined", of=story.again), "b in the run again")

    lab.hold("a")
    lab.until_held("a")
    lab.until_waiting(story.again)
    lab.hold("b")
    story.do("stop", a, signal.SIGSTOP)
    lab.release(a)
    lab.until_held("b")
    story.do("wake", a, signal.SIGCONT)
    lab.until(lambda: lab.events("round_discarded", of=a), "the end of a's stale round")
    lab.release(story.again)
    story.results = {ranks.site: ranks.result() for ranks in (a, story.again)}
    return story


def first_since(story, since, *, of, name="commit"):
    """The first event of a process after something was done."""
    later = [record for record in story.lab.events(name, of=of) if story.took(record, since) > 0]
    return min(later, key=lambda record: record.wall)


def test_the_kill_hit_b_inside_an_open_round(story):
    assert story.killed.code == -signal.SIGKILL
    records = sorted(story.lab.events(of=story.killed), key=lambda record: record.seq)
    assert records[-1].event == "step"
    open_round = records[-1].round
    assert open_round not in [record["version"] for record in records if record.event == "commit"]
    assert any(record.event == "commit" for record in records), "it had contributed before"


def test_the_survivor_of_a_death_goes_on_within_the_grace(story):
    missed = first_since(story, "kill", of=story.a, name="peer_missed")
    assert missed["peer"] == "b"
    assert story.took(missed, "kill") < 2.0
    alone = first_since(story, "kill", of=story.a)
    assert [one["site"] for one in alone["work"]] == ["a"]
    assert story.took(alone, "kill") < GRACE_S + 2.0


def test_the_killed_sites_open_round_is_not_in_the_chain(story):
    records = story.lab.events(of=story.killed)
    lost = sum(r["steps"] for r in records if r.event == "step" and r.round == records[-1].round)
    done = story.lab.steps_done(story.killed) + story.lab.steps_done(story.again)
    assert lost >= 2
    assert done - story.lab.steps_committed("b") == lost


def test_the_restarted_site_rejoins_by_pulling_and_contributes(story):
    (joined,) = story.lab.events("joined", of=story.again)
    assert joined["how"] == "pulled"
    assert story.lab.chain()[joined["version"] + 1]["joiners"] == ["b"]
    assert story.results["b"]["seen"]


def test_a_stopped_site_is_left_when_its_lease_lapses(story):
    without = first_since(story, "stop", of=story.again)
    assert [one["site"] for one in without["work"]] == ["b"]
    assert story.took(without, "stop") < TTL_S + GRACE_S + 2.0


def test_a_site_that_wakes_up_outside_the_epoch_commits_nothing_and_comes_in_again(story):
    (discarded,) = story.lab.events("round_discarded", of=story.a)
    assert discarded["steps"] >= 2
    assert story.took(discarded, "wake") > 0
    founded, pulled = story.lab.events("joined", of=story.a)
    assert (founded["how"], pulled["how"]) == ("founded", "pulled")
    without = first_since(story, "stop", of=story.again)
    assert pulled["version"] >= without["version"]
    chain = story.lab.chain()
    assert "a" in [one["site"] for one in chain[max(chain)]["work"]]


def test_the_survivor_lost_no_step_but_those_of_its_own_stop(story):
    discarded = sum(record["steps"] for record in story.lab.events("round_discarded", of=story.a))
    assert story.lab.steps_done(story.a) == story.lab.steps_committed("a") + discarded
    assert not story.lab.events("round_discarded", of=story.again)


def test_after_all_of_it_every_row_is_in_the_chain_once(story):
    assert sorted_rows(story.lab.committed_rows())
    assert story.results["a"]["hash"] == story.results["b"]["hash"]
    assert story.results["a"]["version"] == max(story.lab.chain())
