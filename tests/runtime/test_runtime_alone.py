"""A run of one site, and what stops a site from taking part in it."""

import json
import os
import re
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lab import ROWS, Lab, sorted_rows, wait_for
from nursery import Ranks

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import open_store
from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.records import Commit

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]
LEASE_S = 3.0
"""More than a lease lives."""


@dataclass
class Alone:
    lab: Lab
    ranks: Ranks
    result: dict
    said: str
    outage: tuple[datetime, datetime]


@pytest.fixture(scope="module")
def alone(make_lab, etcd) -> Alone:
    """A whole run, in whose middle etcd does not answer for longer than the site's lease lives."""
    lab = make_lab("alone", train={"step_s": 0.005}, coordination={"timeout_s": 0.5})
    ranks = lab.start("a")
    lab.until_commit(3, of=ranks)
    os.kill(etcd.pid, signal.SIGSTOP)
    stat, began = Path(f"/proc/{etcd.pid}/stat"), datetime.now(UTC)
    try:
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "etcd stopped")
        with open_store(CoordinationConfig(endpoints=(etcd.endpoint,), timeout_s=0.5)) as store:
            while (datetime.now(UTC) - began).total_seconds() < LEASE_S:
                with pytest.raises(StoreUnavailable):
                    store.get("any")
    finally:
        os.kill(etcd.pid, signal.SIGCONT)
    outage = began, datetime.now(UTC)
    code, out, err = ranks.end()
    assert code == 0, err
    return Alone(lab=lab, ranks=ranks, result=json.loads(out.splitlines()[-1]), said=err, outage=outage)


def test_without_the_store_the_site_waits_and_then_goes_on(alone):
    began, ended = alone.outage
    lost, found = alone.lab.events("store_lost"), alone.lab.events("store_found")
    assert len(lost) == len(found) == 1
    assert began < lost[0].wall < ended < found[0].wall
    meanwhile = [record for record in alone.lab.events("commit") if began < record.wall < ended]
    assert len(meanwhile) <= 1, "one may have been on its way"
    assert [record for record in alone.lab.events("commit") if record.wall > ended]
    assert [record["how"] for record in alone.lab.events("joined")] == ["founded"]


def test_one_site_does_every_row_once(alone):
    assert sorted_rows(alone.result["seen"])
    assert sorted_rows(alone.lab.committed_rows())
    assert alone.result["seen"] == alone.lab.committed_rows()


def test_one_site_takes_the_outer_steps_and_commits_of_a_run(alone):
    chain = alone.lab.chain()
    assert len(chain) == ROWS // 4 // 10
    assert alone.result["version"] == len(chain)
    assert len({record["hash"] for record in chain.values()}) == len(chain)
    assert all(chain[number]["parent"] == chain[number - 1]["hash"] for number in range(2, len(chain) + 1))
    assert chain[len(chain)]["rows"] == chain[len(chain)]["tokens"] == ROWS
    finished = alone.lab.events("run_finished")
    assert [record["hash"] for record in finished] == [chain[len(chain)]["hash"]]


def test_every_step_of_the_run_is_on_record(alone):
    assert alone.lab.steps_done(alone.ranks) == alone.lab.steps_committed("a") == ROWS // 4


def test_the_head_in_the_store_is_the_last_commit_of_the_record(alone, store):
    entry = store.get(alone.lab.keys.head)
    members = store.list(alone.lab.keys.members).entries
    assert entry is not None
    head = Commit.decode(entry.value)
    last = alone.lab.chain()[head.version]
    assert (head.hash, head.tokens) == (last["hash"], last["tokens"])
    assert head.complete
    assert members == (), "the site took its lease with it"


def test_the_last_snapshot_is_the_head(alone):
    last = max(alone.lab.chain().items())[1]
    manifest = max((alone.lab.directory / "snapshots").glob("*/manifest.json"))
    held = json.loads(manifest.read_text())
    assert (held["version"], held["hash"]) == (last["version"], last["hash"])
    assert not [path for path in (alone.lab.directory / "snapshots").iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module")
def refused(alone, make_lab) -> dict[str, tuple[int, str, str]]:
    """How sites end that cannot take part: side by side, since each takes seconds to start."""
    lab, corrupt = alone.lab, make_lab("corrupt")
    shard = corrupt.folder / "data" / "rows.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    odd = corrupt.folder / "data" / "odd.json"
    manifest = json.loads((lab.folder / "data" / "manifest.json").read_text())
    odd.write_text(json.dumps({**manifest, "shards": [{**manifest["shards"][0], "rows": ROWS - 1}]}))
    started = {
        "rows": lab.start("b", f"data.manifest={odd}"),
        "identity": lab.start("b", "train.width=4", "run.seed=2", "outer.lr=0.5"),
        "shard": corrupt.start("a"),
        "etcd": lab.start("b", "coordination.endpoints=['127.0.0.1:9']", "coordination.timeout_s=1"),
    }
    return {what: ranks.end() for what, ranks in started.items()}


def test_a_site_that_would_train_something_else_is_refused_with_what_differs(refused):
    code, out, err = refused["identity"]
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert re.findall(r"([\w.]+) is [\w.]+, the run's is \w+", lines[0]) == ["model", "outer.lr", "seed"]
    assert lines[0].endswith("use the run's own")


def test_a_site_whose_manifest_tells_another_number_of_rows_is_refused(refused):
    code, _, err = refused["rows"]
    assert code == 2
    assert f"rows is {ROWS - 1}, the run's is {ROWS}; use the run's own" in err


def test_a_corrupt_shard_is_the_users_matter_and_named(refused):
    code, _, err = refused["shard"]
    assert code == 2
    assert "rows.parquet is corrupt" in err
    assert "prepare the data set again" in err
    assert "Traceback" not in err


def test_a_store_that_cannot_be_reached_is_one_clear_line(refused):
    code, out, err = refused["etcd"]
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "127.0.0.1:9" in err


def test_sites_that_were_refused_changed_nothing_of_the_run(refused, alone):
    assert {record.site for record in alone.lab.events()} == {"a"}
