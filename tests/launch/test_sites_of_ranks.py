"""Sites of 1, 2 and 4 ranks in one run, and one site on two machines: real torchruns on a real etcd."""

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from faults.lab import STEP_S, STEPS, Lab
from faults.program import BATCH_ROWS
from faults.record import wall
from faults.truth import history, lost_steps, verify
from nursery import Nursery
from torchruns import Torchruns, etcd_words, variable

from curtail_dist.membership.records import Commit

pytestmark = [
    pytest.mark.launch,
    pytest.mark.integration,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(420),
]

DEADLINE_S = 150.0
PROGRAM = str(Path(__file__).with_name("faults_program.py"))
RANKS = {"a": 1, "b": 2, "c": 4}
DRIFT = {"a": 1.0, "b": 3.0, "c": 7.0}
VICTIM = {"a": 0, "b": 1, "c": 0}
"""The rank that is killed: the only one, one that follows, and one that leads others."""
SETTLED, MEASURED = 2, 3
ROUND_ROWS = len(RANKS) * STEPS * BATCH_ROWS
ROWS = 16 * ROUND_ROWS
WEIGHTS_OFF_BY = 1e-3


@dataclass(frozen=True)
class Leader:
    """Rank 0 of a site, as a lab knows processes."""

    site: str
    pid: int

    @property
    def stem(self):
        return f"rank-{self.pid}"


class Play:
    """Sites of several ranks in a lab."""

    def __init__(self, lab, runs):
        self.lab = lab
        self._runs = runs

    def start(self, site, *, nodes=1, ranks, name="", **train):
        """Start one torchrun for each node of a site."""
        lab = self.lab
        lab.config()
        tree = yaml.safe_load((lab.folder / "run.yaml").read_text())
        tree["train"] |= train
        run_file = lab.folder / f"{site}.yaml"
        run_file.write_text(yaml.safe_dump(tree))
        words = [
            *etcd_words(lab.server.endpoint, name or f"faults.{site}", nodes=str(nodes), ranks=ranks),
            *("--max-restarts", "2", PROGRAM, "--config", str(run_file), "--site", site),
        ]
        return [self._runs.start(*words) for _ in range(nodes)]

    def wait_for(self, look, what):
        def found():
            self._runs.check()
            return look()

        return self.lab.wait_for(found, what, timeout=DEADLINE_S)

    def joined(self, site):
        return self.lab.events.of("joined", site=site)

    def leader(self, site):
        """Rank 0 of the site as it came in last."""
        return Leader(site, int(self.joined(site)[-1].process.removeprefix("rank-")))

    def commit(self, site, version, *, after=0.0):
        """Wait until a site stands on this version or a later one; return its event."""

        def look():
            commits = self.lab.events.of("commit", site=site)
            return next((one for one in commits if one["version"] >= version and wall(one) > after), None)

        return self.wait_for(look, f"commit {version} of {site}")


@contextmanager
def played(folder, **sections):
    with Lab(folder, Nursery(), **sections) as lab, Torchruns(folder) as runs:
        yield Play(lab, runs)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run was, when it is over."""

    facts: dict
    weights_off_by: float
    rows_a_step: dict
    """Of each site, in each round before any rank was killed."""
    ends: dict
    """What rank 0 of each site says that the state is at its end."""
    head: Commit
    snapshots: list
    joins: dict
    """How each site came in, each time."""
    begun: dict
    """Inner steps that a site had done in the round in which one of its ranks was killed."""
    lost: dict
    """Inner steps of a site that are in no commit."""


def measured(lab):
    """The commits of the rounds that are measured, in each of which all sites had a part."""
    chain = history(lab).chain
    commits = [chain[SETTLED + number + 1] for number in range(MEASURED)]
    assert all({work.site for work in commit.work} == set(RANKS) for commit in commits)
    return commits


def rows_a_step(lab):
    """Of each site, in each round. Rows are of unequal length, so tokens would be nearly as many alone."""
    found = {site: set() for site in RANKS}
    for work in (work for commit in measured(lab) for work in commit.work):
        found[work.site].add(sum(last - first for first, last in work.rows) / work.steps)
    return found


def weights_off_by(lab, leader):
    """How far the global parameter's moves are from what token shares as weights give, relatively."""
    lines = (lab.folder / f"versions-{leader.site}-{leader.pid}.jsonl").read_text().splitlines()
    anchor = {one["version"]: one["drift"] for one in map(json.loads, lines)}
    worst = 0.0
    for commit in measured(lab):
        tokens = sum(work.tokens for work in commit.work)
        expected = sum(work.tokens / tokens * work.steps * DRIFT[work.site] for work in commit.work)
        moved = anchor[commit.version] - anchor[commit.version - 1]
        worst = max(worst, abs(moved - expected) / expected)
    return worst


def inside_a_round(play, site):
    """Wait until a site is in the middle of a round; return the events of that round's steps."""

    def look():
        steps = play.lab.events.of("step", ranks=play.leader(site))
        here = [one for one in steps if one.round == steps[-1].round] if steps else []
        return here if 3 <= len(here) <= STEPS // 2 else None

    return play.wait_for(look, f"the middle of a round of {site}")


def kill_a_rank(play, site, torchrun):
    """Kill one rank of a site inside a round, and see all of them come back; return how far the round was."""
    lab, leader, others = play.lab, play.leader(site), [one for one in RANKS if one != site]
    before, came = torchrun.ranks, len(play.joined(site))
    assert sorted(before) == list(range(RANKS[site]))
    inside_a_round(play, site)
    os.kill(before[VICTIM[site]], signal.SIGKILL)
    version = lab.head().version
    for other in others:
        play.commit(other, version + 1)
    lab.pace("hold")
    play.wait_for(lambda: site in lab.ready(), f"{site} with all its ranks again")
    lab.pace(STEP_S)
    again = play.wait_for(lambda: play.joined(site)[came:], f"{site} in the run again")
    for one in RANKS:
        play.commit(one, again[0]["version"] + 1)
    assert not set(torchrun.ranks.values()) & set(before.values()), "torchrun starts all ranks of a site anew"
    return sum(one["steps"] for one in lab.events.of("step", ranks=leader) if one.round > version)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run of three sites, in each of which one rank was killed."""
    average = {"optimizer": "average"}
    with played(tmp_path_factory.mktemp("ranks"), sites="abc", rows=ROWS, outer=average) as play:
        lab = play.lab
        lab.pace("hold")
        runs = {
            site: play.start(site, ranks=count, drift=DRIFT[site], batch_rows=BATCH_ROWS // count)[0]
            for site, count in RANKS.items()
        }
        play.wait_for(lambda: len(lab.ready()) == len(RANKS) - 1, "a founder, and all others ready")
        lab.pace(STEP_S)
        for site in RANKS:
            play.commit(site, SETTLED + MEASURED)
        leader = play.leader("a")
        begun = {site: kill_a_rank(play, site, runs[site]) for site in RANKS}
        lab.pace(0.0)
        for site, torchrun in runs.items():
            play.wait_for(lambda torchrun=torchrun: torchrun.code == 0, f"the end of {site}")
        said = [
            json.loads(line) for one in runs.values() for line in one.said.splitlines() if '"hash"' in line
        ]
        return Told(
            facts=verify(lab),
            weights_off_by=weights_off_by(lab, leader),
            rows_a_step=rows_a_step(lab),
            ends={one["site"]: one["hash"] for one in said},
            head=lab.head(),
            snapshots=[path.name for path in (lab.directory / "snapshots").iterdir()],
            joins={site: [one["how"] for one in play.joined(site)] for site in RANKS},
            begun=begun,
            lost={site: lost_steps(lab, site) for site in RANKS},
        )


def test_sites_of_different_size_train_every_row_once(told):
    assert told.head.complete
    assert (told.facts["rows"], told.facts["rows_lost"], told.facts["rows_duplicated"]) == (ROWS, 0, 0)


def test_they_hold_the_same_bytes_at_each_version_and_at_the_end(told):
    assert told.ends == dict.fromkeys(RANKS, told.head.hash)
    assert f"{told.head.version:06}-{told.head.hash[:8]}" in told.snapshots
    assert told.facts["rewinds"] == 0


def test_a_site_weighs_as_much_as_it_has_tokens_whatever_its_ranks(told):
    assert told.rows_a_step == {site: {BATCH_ROWS} for site in RANKS}, "their steps are to be of one size"
    assert told.weights_off_by < WEIGHTS_OFF_BY


def test_a_site_that_lost_a_rank_comes_back_as_one_site_with_all_its_ranks(told):
    (first, *others) = sorted((joins[0] for joins in told.joins.values()), key=lambda how: how != "founded")
    assert first == "founded"
    assert "founded" not in others
    assert all(len(joins) == 2 for joins in told.joins.values()), (
        "one process of a site tells of it, each time"
    )


def test_a_killed_rank_costs_its_site_the_open_round_and_the_others_nothing(told):
    for site in RANKS:
        assert 0 < told.begun[site] <= STEPS, "it was killed inside a round"
        assert told.lost[site] == told.begun[site]


# One site, two machines


def test_two_machines_of_two_ranks_are_one_site(tmp_path):
    with played(tmp_path, sites="a", rows=8 * STEPS * BATCH_ROWS) as play:
        lab = play.lab
        nodes = play.start("a", nodes=2, ranks=2, batch_rows=BATCH_ROWS // 4)
        play.commit("a", 2)
        ranks = [node.ranks for node in nodes]
        assert sorted(sorted(one) for one in ranks) == [[0, 1], [2, 3]]
        local = {rank: variable(pid, "LOCAL_RANK") for one in ranks for rank, pid in one.items()}
        assert local == {0: "0", 1: "1", 2: "0", 3: "1"}
        assert play.leader("a").pid in [one.get(0) for one in ranks]

        for node in nodes:
            node.terminate()
        for node in nodes:
            play.wait_for(lambda node=node: node.code is not None, "the end of both machines' ranks")
        assert len(lab.events.of("drained")) == 1
        kept = sorted(path.name for path in (lab.directory / "inner").iterdir())
        assert kept == ["a.1.safetensors", "a.2.safetensors", "a.3.safetensors", "a.safetensors"]

        again = play.start("a", nodes=2, ranks=2, name="faults.a.again", batch_rows=BATCH_ROWS // 4)
        lab.pace(0.0)
        for node in again:
            play.wait_for(lambda node=node: node.code == 0, "the end of the run")
        assert [one["how"] for one in play.joined("a")] == ["founded", "resumed"]
        assert not any("begins afresh" in node.said for node in again)
        assert not lost_steps(lab, "a")
        assert len(list((lab.directory / "events").iterdir())) == 2, "one rank of all writes events"
        verify(lab)
