"""One torchrun job with a site on each node: nanochat's ranks of three sites below one rendezvous."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from curtail_launch.demo.script import learning, write_run_file
from faults.lab import write_whole
from faults.record import Events, wall
from torchruns import Torchruns, etcd_words

from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.report.build import summarize

pytestmark = [
    pytest.mark.launch,
    pytest.mark.integration,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(420),
]

DEADLINE_S = 150.0
PROGRAM = str(Path(__file__).with_name("paced_train.py"))
RANKS = {"california": 1, "texas": 2, "spain": 1}
BATCH, SEQUENCE, ROUND_STEPS = 4, 32, 10
STEP_TOKENS = 2 * BATCH * SEQUENCE
STEP_S = 0.05
LONGER_THAN_A_ROUND_S = 1.0
POWER = {"train_w": 100.0, "idle_w": 10.0}


def tree(material, folder, etcd):
    """The run file of a small model at three sites, whose steps have as many tokens."""
    learned = learning(material)
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": SEQUENCE}
    options = {
        "program": PROGRAM,
        "device": "cpu",
        "device_batch_size": BATCH,
        "total_batch_size": STEP_TOKENS,
        "eval_sequences": BATCH,
        "eval_every": 1000,
    }
    return {
        "run": {"name": "job", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": {
            name: {
                "signal": {"kind": "constant", "value": 10.0},
                "power": POWER,
                "provisioner": {"ranks": ranks},
            }
            for name, ranks in RANKS.items()
        },
        "round": {"steps": ROUND_STEPS},
        **learned,
        "model": {**learned["model"], **shape},
        "train": {**learned["train"], **options},
    }


class Job:
    """Its nodes, and what its sites say."""

    def __init__(self, folder, run_file, endpoint, runs):
        self.events = Events(folder)
        self._pace = folder / "pace"
        self._run_file = run_file
        self._endpoint = endpoint
        self._runs = runs

    def start(self, site):
        words = etcd_words(self._endpoint, "job", nodes="1:3", ranks=RANKS[site])
        program = [PROGRAM, "--config", str(self._run_file), "--site", site]
        return self._runs.start(*words, "--max-restarts", "2", *program)

    def pace(self, said):
        write_whole(self._pace, str(said))

    def wait_for(self, look, what):
        deadline = time.monotonic() + DEADLINE_S
        while not (found := look()):
            self._runs.check()
            assert time.monotonic() < deadline, f"{what} did not come within {DEADLINE_S} s"
            time.sleep(0.02)
        return found

    def commit(self, site, *, after):
        """Wait until a site has committed after a moment (UTC, seconds)."""

        def look():
            return next((one for one in self.events.of("commit", site=site) if wall(one) > after), None)

        return self.wait_for(look, f"a commit of {site}")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a job was, when it is over."""

    summary: dict
    victim: str
    """The site whose node died and came back."""
    others: list
    alone: list
    """Commits from the node's death to its return."""
    joins: dict
    """How each site came in, each time."""
    drained: dict
    """How often each site left in order."""
    lost: dict
    """Inner steps of each site that are in no commit."""
    hashes: dict
    """What the sites say that each version is."""
    step_tokens: dict
    """Tokens of each inner step of each site."""
    ranks: list
    """The ranks of the job below each node."""


def lost_steps(events, site):
    works = {commit["version"]: commit["work"] for commit in events.of("commit")}
    counted = sum(work["steps"] for each in works.values() for work in each if work["site"] == site)
    return sum(step["steps"] for step in events.of("step", site=site)) - counted


@pytest.fixture(scope="module")
def told(material, tmp_path_factory):
    """A job of three nodes, of which the first one died and came back."""
    folder = tmp_path_factory.mktemp("job") / "run"
    with EmbeddedEtcd() as etcd, Torchruns(folder.parent) as runs:
        run_file = write_run_file(tree(material, folder, etcd.endpoint), folder)
        job = Job(folder, run_file, etcd.endpoint, runs)
        events = job.events
        job.pace(STEP_S)
        nodes = {site: job.start(site) for site in RANKS}
        job.wait_for(lambda: all(events.of("commit", site=site) for site in RANKS), "all sites in the run")
        ranks = [sorted(node.ranks) for node in nodes.values()]
        victim = next(site for site in RANKS if 0 in nodes[site].ranks)
        others = [site for site in RANKS if site != victim]
        died = nodes[victim].die()
        for site in others:
            job.commit(site, after=died + LONGER_THAN_A_ROUND_S)
        nodes[victim] = job.start(victim)
        job.wait_for(lambda: len(events.of("joined", site=victim)) == 2, "the node's return")
        returned = wall(events.of("joined", site=victim)[1])
        for site in RANKS:
            job.commit(site, after=returned)
        job.pace(0.0)
        for site, node in nodes.items():
            job.wait_for(lambda node=node: node.code == 0, f"the end of {site}")
        commits = events.of("commit")
        return Told(
            summary=summarize([folder]),
            victim=victim,
            others=others,
            alone=[one for one in commits if died + LONGER_THAN_A_ROUND_S < wall(one) < returned],
            joins={site: [one["how"] for one in events.of("joined", site=site)] for site in RANKS},
            drained={site: len(events.of("drained", site=site)) for site in RANKS},
            lost={site: lost_steps(events, site) for site in RANKS},
            hashes={
                number: {one["hash"] for one in commits if one["version"] == number}
                for number in range(1, max(one["version"] for one in commits) + 1)
            },
            step_tokens={
                site: [one["tokens"] / one["steps"] for one in events.of("step", site=site)] for site in RANKS
            },
            ranks=ranks,
        )


def test_a_job_with_a_site_on_each_node_trains_every_row_once(told):
    rows = told.summary["rows"]
    assert told.summary["finished"]
    assert rows["total"] > 100
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)


def test_its_sites_hold_the_same_bytes_at_each_version(told):
    assert len(told.hashes) > 5
    assert all(len(hashes) == 1 for hashes in told.hashes.values())


def test_ranks_of_one_world_are_each_of_the_site_that_they_name(told):
    assert sorted(rank for ranks in told.ranks for rank in ranks) == [0, 1, 2, 3]
    assert sorted(map(len, told.ranks)) == sorted(RANKS.values())
    for tokens in told.step_tokens.values():
        assert max(tokens) == STEP_TOKENS
        assert tokens.count(STEP_TOKENS) > 0.5 * len(tokens), "steps have the tokens of the site's own ranks"


def test_the_other_sites_go_on_without_a_node_that_died(told):
    assert told.alone
    assert {work["site"] for commit in told.alone for work in commit["work"]} == set(told.others)


def test_all_sites_start_anew_when_a_node_comes_and_only_then(told):
    assert {site: len(joins) for site, joins in told.joins.items()} == dict.fromkeys(RANKS, 2)
    assert [joins[0] for joins in told.joins.values()].count("founded") == 1
    assert "founded" not in [joins[1] for joins in told.joins.values()]


def test_sites_that_torchrun_restarts_leave_in_order_and_lose_no_step(told):
    for site in told.others:
        assert told.drained[site] == 1
        assert told.lost[site] == 0
    assert told.lost[told.victim] <= ROUND_STEPS, "the node that died lost no more than its open round"
