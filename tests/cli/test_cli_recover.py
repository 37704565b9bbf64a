"""`curtail recover`: what it writes, what it refuses, and what it says."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from curtail_dist.cli.main import main
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.coordination.store import CoordinationStore
from curtail_dist.membership.agent.orders import Order
from curtail_dist.membership.agent.state import AgentState
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence, decode, encode
from curtail_dist.membership.recovering import GAP
from curtail_dist.runtime.identity import of_run_file
from curtail_dist.state import snapshot
from curtail_dist.state.version import Version
from curtail_dist.telemetry.events import Committed, EpochFormed, RunStarted
from curtail_dist.telemetry.record import EventLog

KEYS = Keys("day")
START = "2026-11-07T17:00:00+00:00"
EPOCH = 4


@pytest.fixture
def config(file: Path) -> RunConfig:
    return RunConfig.from_yaml(file)


def made(number: int) -> tuple[Version, Commit]:
    version = Version(number=number, tensors={"parameter/w": torch.full((3,), float(number))})
    commit = Commit(
        version=number,
        hash=version.hash,
        parent="0" * 64,
        epoch=EPOCH,
        total_rows=90,
        done=((0, 5 * number),),
        tokens=100 * number,
    )
    return version, commit


def kept(config: RunConfig, *numbers: int, url: str = "", identity: dict[str, str] | None = None) -> Commit:
    """Write snapshots; return the record of the last one."""
    named = {**of_run_file(config), "model": "abc"} if identity is None else identity
    for number in numbers:
        snapshot.write(url or config.snapshot_url, *made(number), named)
    return made(numbers[-1])[1]


def told(config: RunConfig, *versions: int, epoch: int = EPOCH, start: str = START) -> None:
    """Write the events of a founder that saw these versions."""
    clock = SystemClock(datetime.fromisoformat(start))
    with EventLog(config.run.directory, site="texas", process="rank-1", clock=clock) as events:
        events.emit(RunStarted(run="day", seed=1, start=start, rows=90, virtual=False))
        events.place(epoch=epoch)
        events.emit(EpochFormed(members=["texas"], reason="founded"))
        for version in versions:
            commit = made(version)[1]
            events.emit(
                Committed(
                    version=version, hash=commit.hash, parent=commit.parent, tokens=commit.tokens, rows=1,
                    work=[], joiners=[], loss=None, bytes_sent=0, stall_s=0.0,
                )
            )  # fmt: skip


def entry(store: CoordinationStore, key: str) -> bytes:
    found = store.get(key)
    assert found is not None, f"{key} is not there"
    return found.value


def test_the_newest_snapshot_becomes_head_with_all_that_the_store_must_know(file, config, store, capsys):
    commit = kept(config, 2, 3)
    told(config, 2, 3)
    assert main(["recover", "--config", str(file)]) == 0
    assert Commit.decode(entry(store, KEYS.head)) == commit
    epoch = Epoch.decode(entry(store, KEYS.epoch))
    assert (epoch.number, epoch.members, epoch.reason) == (EPOCH + GAP, (), "recovered")
    assert decode(entry(store, KEYS.holder(3)))["hash"] == commit.hash
    assert decode(entry(store, KEYS.start))["start"] == START
    assert decode(entry(store, KEYS.identity)) == {**of_run_file(config), "model": "abc"}
    said = capsys.readouterr().out
    assert "version 3 is head, with 300 tokens and 15 of 90 rows" in said
    assert f"run time 0 is {START}" in said
    assert "dropped" not in said
    assert f"curtail site --config {file} --site NAME" in said


def test_what_was_trained_after_the_snapshot_is_said_to_be_dropped(file, config, store, capsys):
    kept(config, 3)
    told(config, 2, 3, 4, 5)
    assert main(["recover", "--config", str(file)]) == 0
    assert "versions after it, up to 5 as far as is known here, are dropped" in capsys.readouterr().out


def test_the_first_epoch_lies_beyond_all_that_events_tell_of(file, config, store):
    kept(config, 3)
    told(config, 3, epoch=77)
    assert main(["recover", "--config", str(file)]) == 0
    assert Epoch.decode(entry(store, KEYS.epoch)).number == 77 + GAP


def test_facts_as_json(file, config, store, capsys):
    kept(config, 3)
    told(config, 3, 4)
    assert main(["recover", "--config", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["recovered"]
    assert (facts["version"], facts["newest_version_told"], facts["replaced_version"]) == (3, 4, None)
    assert facts["rows"] == {"total": 90, "done": 15}
    assert facts["start"] == START


def test_snapshots_from_elsewhere_are_brought_to_where_the_sites_look(file, config, store, tmp_path):
    commit = kept(config, 3, url=str(tmp_path / "backup"))
    told(config)
    assert main(["recover", "--config", str(file), "--from", str(tmp_path / "backup")]) == 0
    assert snapshot.read(config.snapshot_url, 3, commit.hash).commit == commit
    assert snapshot.read(config.snapshot_url, 3, commit.hash).identity["model"] == "abc"


def test_a_torn_snapshot_is_passed_over(file, config, store, caplog):
    commit = kept(config, 2, 3)
    told(config)
    newest = Path(config.snapshot_url) / snapshot.name(3, commit.hash) / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert main(["recover", "--config", str(file)]) == 0
    assert Commit.decode(entry(store, KEYS.head)).version == 2
    assert "000003" in caplog.text


def test_without_a_snapshot_nothing_is_written(file, config, store, capsys):
    told(config)
    assert main(["recover", "--config", str(file)]) == 1
    assert "no whole snapshot below" in capsys.readouterr().err
    assert store.list(KEYS.root).entries == ()


def test_a_place_that_cannot_be_read_is_one_line(file, config, store, capsys, tmp_path):
    (tmp_path / "plain").write_text("no directory")
    assert main(["recover", "--config", str(file), "--from", str(tmp_path / "plain")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("replace", [(), ("--replace",)])
def test_a_run_that_somebody_takes_part_in_is_left_alone(file, config, store, capsys, replace):
    kept(config, 3)
    told(config)
    member = Member(site="texas", incarnation="x", host="h", group_port=1, state_port=2)
    present = {
        KEYS.member("texas"): Presence(member=member).encode(),
        KEYS.agent("california"): AgentState(stage="off", since=0.0, reason="").encode(),
    }
    for key, value in present.items():
        store.put(key, value)
        assert main(["recover", "--config", str(file), *replace]) == 2
        assert f"are there: {key.rpartition('/')[2]};" in capsys.readouterr().err
        store.delete(key)
    assert store.get(KEYS.head) is None


def test_a_head_that_the_store_has_gives_way_only_if_told_to(file, config, store, capsys):
    commit = kept(config, 3)
    told(config)
    older = made(1)[1]
    store.put(KEYS.head, older.encode())
    store.put(KEYS.epoch, Epoch(number=9, members=(), reason="lost").encode())
    assert main(["recover", "--config", str(file)]) == 2
    said = capsys.readouterr().err
    assert "etcd has a head of run day, version 1 of 100 tokens" in said
    assert "is version 3 of 300" in said
    assert Commit.decode(entry(store, KEYS.head)) == older
    assert main(["recover", "--config", str(file), "--replace"]) == 0
    assert Commit.decode(entry(store, KEYS.head)) == commit
    assert Epoch.decode(entry(store, KEYS.epoch)).number == 9 + GAP


def test_recovering_twice_changes_nothing_more(file, config, store, capsys):
    kept(config, 3)
    told(config)
    assert main(["recover", "--config", str(file)]) == 0
    before = store.list(KEYS.root).entries
    assert main(["recover", "--config", str(file), "--replace"]) == 0
    assert store.list(KEYS.root).entries == before
    assert "nothing is changed" in capsys.readouterr().out


def test_a_snapshot_of_something_else_is_refused_with_what_differs(file, config, store, capsys):
    kept(config, 3, identity={**of_run_file(config), "seed": "2", "model": "abc"})
    told(config)
    assert main(["recover", "--config", str(file)]) == 2
    assert "seed is 1, the run's is 2" in capsys.readouterr().err
    assert store.get(KEYS.head) is None


def test_a_snapshot_that_does_not_say_what_was_trained_leaves_that_to_the_first_site(
    file, config, store, capsys
):
    kept(config, 3, identity={})
    told(config)
    assert main(["recover", "--config", str(file)]) == 0
    assert store.get(KEYS.identity) is None
    assert "does not say what was trained" in capsys.readouterr().out


def test_what_a_site_wrote_into_the_empty_store_gives_way(file, config, store):
    kept(config, 3)
    told(config)
    store.put(KEYS.start, encode({"start": "2026-11-09T00:00:00+00:00"}))
    store.put(KEYS.identity, encode({"model": "another"}))
    assert main(["recover", "--config", str(file)]) == 0
    assert decode(entry(store, KEYS.start))["start"] == START
    assert decode(entry(store, KEYS.identity))["model"] == "abc"


def test_without_events_the_run_file_must_say_when_the_run_began(file, config, store, capsys):
    kept(config, 3)
    assert main(["recover", "--config", str(file)]) == 2
    assert "--set run.start=" in capsys.readouterr().err
    assert store.get(KEYS.head) is None
    assert main(["recover", "--config", str(file), "--set", f"run.start={START}"]) == 0
    assert decode(entry(store, KEYS.start))["start"] == START


def test_any_event_tells_when_the_run_began(file, config, store):
    kept(config, 3)
    start = datetime.now(UTC).replace(microsecond=0)
    with EventLog(config.run.directory, site="texas", process="a", clock=SystemClock(start)) as events:
        events.emit(EpochFormed(members=["texas"], reason="founded"))
    assert main(["recover", "--config", str(file)]) == 0
    found = datetime.fromisoformat(decode(entry(store, KEYS.start))["start"])
    assert abs((found - start).total_seconds()) < 0.5


def test_a_standing_order_is_pointed_out(file, config, store, capsys):
    kept(config, 3)
    told(config)
    order = Order(kind="stop", reason="etcd is new", by="me@here", given=datetime.now(UTC))
    store.put(KEYS.stop, order.encode())
    assert main(["recover", "--config", str(file)]) == 0
    assert "an operator's order stands" in capsys.readouterr().out
    assert Order.decode(entry(store, KEYS.stop)) == order


def test_a_complete_run_is_said_to_be_complete(file, config, store, capsys):
    version, commit = made(18)
    snapshot.write(config.snapshot_url, version, replace(commit, done=((0, 90),)))
    told(config)
    assert main(["recover", "--config", str(file)]) == 0
    assert "the run is complete" in capsys.readouterr().out
    assert Commit.decode(entry(store, KEYS.head)).complete


def test_an_agent_does_not_begin_a_run_anew_whose_snapshots_are_there(file, config, store, capsys):
    kept(config, 3)
    assert main(["site", "--config", str(file), "--site", "texas", "--unchecked"]) == 2
    said = capsys.readouterr().err
    assert "etcd knows nothing of this run, but there are its snapshots, up to version 3" in said
    assert "curtail recover" in said
    assert store.list(KEYS.root).entries == (), "not even when it began"
