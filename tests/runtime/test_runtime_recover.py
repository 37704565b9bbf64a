"""etcd's data is lost in the middle of a run: its processes end, none begins anew, and `recover` goes on."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta

import pytest
from lab import ROWS, Lab
from nursery import Nursery, Ranks

from curtail_dist.cli.main import main
from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.membership.records import Commit, Epoch
from curtail_dist.membership.recovering import GAP
from curtail_dist.report.audit import count_rows
from curtail_dist.report.chain import read_chain

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(kw_only=True)
class Played:
    """What came of a run whose etcd forgot it."""

    lab: Lab
    lived_through: dict[str, tuple[int, str, str]]
    """How the processes ended that saw the empty etcd."""
    anew: tuple[int, str, str]
    """How one ended that was started on it."""
    after: list[str]
    """Keys that were there afterwards."""
    head: Commit
    epoch: Epoch
    """As recovered."""
    last: list[Ranks]
    """Those that did the rest."""


@pytest.fixture(scope="module", params=[1, 2], ids=["whole", "fragments"])
def played(
    request: pytest.FixtureRequest, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    outer = {"fragments": request.param, "sync_delay": request.param - 1}
    with ExitStack() as stack:
        with EmbeddedEtcd() as etcd:
            folder, endpoint = tmp_path_factory.mktemp("recover"), etcd.endpoint
            lab = Lab(folder, nursery, endpoint, name="lost", train={"step_s": 0.02}, outer=outer)
            stack.enter_context(closing(lab))
            first = [lab.start(site) for site in ("a", "b")]
            for ranks in first:
                lab.until_commit(5, of=ranks)
        # Its data went with it; at its address there is one that knows nothing.
        stack.enter_context(EmbeddedEtcd(port=int(endpoint.rpartition(":")[2])))
        lived_through = {ranks.site: ranks.end() for ranks in first}
        anew = lab.start("c").end()
        store = stack.enter_context(open_store(CoordinationConfig(endpoints=(endpoint,))))
        after = [entry.key for entry in store.list(lab.keys.root).entries]
        assert main(["recover", "--config", str(folder / "run-0.yaml")]) == 0
        head, epoch = store.get(lab.keys.head), store.get(lab.keys.epoch)
        assert head is not None
        assert epoch is not None
        last = [lab.start(site) for site in ("b", "c")]
        for ranks in last:
            ranks.result()
        yield Played(
            lab=lab,
            lived_through=lived_through,
            anew=anew,
            after=after,
            head=Commit.decode(head.value),
            epoch=Epoch.decode(epoch.value),
            last=last,
        )


def test_who_lived_through_it_ends_and_says_that_etcd_is_another(played):
    for code, _, said in played.lived_through.values():
        assert code == 1
        assert "another etcd answers" in said or "is cluster" in said


def test_who_comes_new_does_not_begin_the_run_anew(played):
    code, _, said = played.anew
    assert code == 2, "torchrun's next start would fare no better"
    assert "etcd knows nothing of this run, but there are its snapshots" in said
    assert played.lab.keys.head not in played.after
    assert [record["how"] for record in played.lab.events("joined")].count("founded") == 1


def test_the_run_goes_on_from_the_newest_snapshot_in_a_later_epoch(played):
    told = [record for record in played.lab.events("commit") if record.epoch < played.epoch.number]
    newest = max(record["version"] for record in told)
    assert newest <= played.head.version <= newest + 1, "a snapshot is durable before its commit"
    joined = played.lab.events("joined", of=played.last[0]) + played.lab.events("joined", of=played.last[1])
    first = min(joined, key=lambda record: record.epoch)
    assert (first["how"], first["version"]) == ("resumed", played.head.version)
    assert first.epoch == played.epoch.number + 1
    assert played.epoch.number >= GAP


def test_every_row_is_in_the_chain_once(played):
    chain = read_chain(played.lab.events())
    counted = count_rows(chain.commits, total=ROWS, finished=True)
    assert (counted.trained, counted.duplicated, counted.lost) == (ROWS, 0, 0)
    assert [commit.version for commit in chain.commits] == list(range(1, len(chain.commits) + 1))


def test_its_report_is_of_one_finished_run(played):
    assert {record["how"] for record in played.lab.events("joined")} == {"founded", "resumed", "pulled"}
    assert [record["rows"] for record in played.lab.events("run_started")] == [ROWS]
    start = {record.wall - timedelta(seconds=record.t) for record in played.lab.events()}
    assert max(start) - min(start) < timedelta(seconds=1), "run time goes on where it was"
