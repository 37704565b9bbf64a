"""nanochat at a site of two ranks, as a site's agent starts them: torchrun, a real etcd, real training."""

import json
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from curtail_launch.demo.script import learning, write_run_file
from sockets import beyond_loopback, listening
from torchruns import variable

from curtail_dist.config import RunConfig
from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.membership.provision import ProcessProvisioner
from curtail_dist.report.build import summarize
from curtail_dist.telemetry.record import Record, read_events

pytestmark = [pytest.mark.launch, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

DEADLINE_S = 120.0
RANKS, PASSES = 2, 2
BATCH, SEQUENCE = 4, 64
STEP_TOKENS = RANKS * PASSES * BATCH * SEQUENCE
ROUND_STEPS = 40
PROGRAM = Path(__file__).with_name("watched_train.py")
SITE = {
    "signal": {"kind": "constant", "value": 10.0},
    "power": {"train_w": 100.0, "idle_w": 10.0},
    "provisioner": {"ranks": RANKS, "max_restarts": 0},
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run that has ended."""

    log: str
    ranks: list[dict[str, Any]]
    """What each rank's model was, by rank."""
    summary: dict[str, Any]
    events: list[Record]


def tree(material, folder, etcd):
    """The run file of a small model at one site."""
    learned = learning(material)
    learned["model"] = {
        **learned["model"],
        "n_layer": 1,
        "n_embd": 32,
        "n_head": 2,
        "sequence_length": SEQUENCE,
    }
    options = {
        "program": str(PROGRAM),
        "device": "cpu",
        "device_batch_size": BATCH,
        "total_batch_size": STEP_TOKENS,
        "eval_sequences": 2 * BATCH + 1,
        "sample_every": 2,
        "optimizer": {**learned["train"]["optimizer"], "batch_tokens": 2**19},
    }
    return {
        "run": {"name": "ranks", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": {"texas": SITE},
        "round": {"steps": ROUND_STEPS},
        "state": {"durable_before_commit": True},
        **learned,
        "train": {**learned["train"], **options},
    }


def wait(provisioner, until=lambda: False):
    """Wait until something holds or the ranks have ended; return their exit code."""
    deadline = time.monotonic() + DEADLINE_S
    while provisioner.poll().running and not until():
        assert time.monotonic() < deadline, "the ranks take too long"
        time.sleep(0.05)
    return provisioner.poll().code


def events(folder, name):
    """Events of a name so far."""
    if not any((folder / "events").glob("*.jsonl")):
        return []
    return [record for record in read_events(folder) if record.event == name]


@pytest.fixture
def site(tmp_path):
    """A site's provisioner, and its run directory."""
    with ExitStack() as stack:

        def make(material, **provisioner):
            etcd = stack.enter_context(EmbeddedEtcd())
            folder = tmp_path / "run"
            made = tree(material, folder, etcd.endpoint)
            made["sites"]["texas"] = {**SITE, "provisioner": {**SITE["provisioner"], **provisioner}}
            run_file = write_run_file(made, folder)
            provisioner = ProcessProvisioner(RunConfig.from_yaml(run_file), run_file, "texas")
            stack.callback(provisioner.close)
            return provisioner, folder

        yield make


@pytest.fixture(scope="module")
def trained(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "run"
    with EmbeddedEtcd() as etcd:
        run_file = write_run_file(tree(material, folder, etcd.endpoint), folder)
        provisioner = ProcessProvisioner(RunConfig.from_yaml(run_file), run_file, "texas")
        try:
            provisioner.start()
            code = wait(provisioner)
        finally:
            provisioner.close()
    log = (folder / "logs" / "texas.log").read_text()
    assert code == 0, log
    return Trained(
        log=log,
        ranks=[json.loads((folder / "ranks" / f"{rank}.json").read_text()) for rank in range(RANKS)],
        summary=summarize([folder]),
        events=list(read_events(folder)),
    )


def test_the_ranks_of_a_site_complete_a_run_and_end_in_order(trained):
    assert trained.summary["finished"]
    assert [rank["code"] for rank in trained.ranks] == [0] * RANKS
    assert "Traceback" not in trained.log


def test_every_row_is_trained_once(trained):
    rows = trained.summary["rows"]
    assert rows["total"] > 100
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)


def test_the_model_is_the_same_at_both_ranks_before_each_step_and_at_the_end(trained):
    first, second = trained.ranks
    models = [[model for model, _ in groupby(rank["passes"])] for rank in (first, second)]
    assert len(models[0]) > 2 * ROUND_STEPS
    assert models[0] == models[1]
    assert first["end"] == second["end"]
    assert len(set(models[0])) == len(models[0]), "a model came again"


def test_the_model_stands_still_over_the_passes_of_a_step(trained):
    passes = [len(list(same)) for rank in trained.ranks for _, same in groupby(rank["passes"])]
    assert max(passes) == PASSES
    assert passes.count(PASSES) > 0.9 * len(passes), "only the last step of a row's end has fewer"


def test_a_step_of_the_site_has_the_tokens_of_both_ranks(trained):
    steps = [record for record in trained.events if record.event == "step"]
    tokens = [record["tokens"] / record["steps"] for record in steps]
    taken = sum(record["steps"] for record in steps)
    assert taken == len(set(trained.ranks[0]["passes"]))
    assert sum(record["tokens"] for record in steps) == trained.summary["tokens"]
    assert max(tokens) == STEP_TOKENS
    assert tokens.count(max(tokens)) > 0.9 * len(tokens), "only a round without rows has smaller steps"


def test_one_rank_alone_speaks_for_the_site(trained):
    assert {record.site for record in trained.events} == {"texas"}
    assert len({record.process for record in trained.events}) == 1
    assert sum(record.event == "joined" for record in trained.events) == 1


def test_the_site_learns(trained):
    losses = [record["loss"] for record in trained.events if record.event == "step"]
    assert losses[-1] < 0.9 * losses[0]
    bpb = [record["val_bpb"] for record in trained.events if record.event == "evaluated"]
    assert bpb[-1] < 0.9 * bpb[0]


def test_each_round_says_how_fast_the_site_trained(trained):
    commits = [record["version"] for record in trained.events if record.event == "commit"]
    speeds = [record for record in trained.events if record.event == "throughput"]
    assert [record["version"] for record in speeds] == commits
    assert all(record["tokens_per_s"] > 0 for record in speeds)
    assert all(record["mfu"] is None for record in speeds), "nobody knows what a CPU can do at most"


def test_the_model_writes_samples_every_other_commit_and_at_the_end(trained):
    last = max(record["version"] for record in trained.events if record.event == "commit")
    samples = [record for record in trained.events if record.event == "sampled"]
    due = [version for version in range(1, last + 1) if version % 2 == 0 or version == last]
    assert [record["version"] for record in samples] == due
    assert all(len(record["texts"]) == 3 and record["texts"][0].startswith("def ") for record in samples)


def test_a_site_that_leaves_takes_the_shares_of_its_optimizers_state_up_again(site, material):
    provisioner, folder = site(material)
    provisioner.start()
    wait(provisioner, until=lambda: events(folder, "commit"))
    provisioner.terminate()
    wait(provisioner)
    assert len(events(folder, "drained")) == 1, (folder / "logs" / "texas.log").read_text()
    kept = sorted(path.name for path in (folder / "inner").iterdir())
    assert kept == ["texas.1.safetensors", "texas.safetensors"]

    provisioner.start()
    wait(provisioner, until=lambda: len(events(folder, "joined")) == 2)
    provisioner.terminate()
    wait(provisioner)
    assert [record["how"] for record in events(folder, "joined")] == ["founded", "resumed"]
    assert "begins afresh" not in (folder / "logs" / "texas.log").read_text()
    assert not events(folder, "round_discarded")


def ranks_of(provisioner):
    """The processes of a site's ranks, by rank."""
    return {int(variable(pid, "RANK")): pid for pid in provisioner.poll().ranks}


@pytest.mark.fault
def test_the_ranks_of_one_machine_are_open_to_no_other_and_meet_again_after_one_was_killed(site, material):
    provisioner, folder = site(material, max_restarts=1)
    provisioner.start()
    for starts in (1, 2):
        wait(provisioner, until=lambda starts=starts: len(events(folder, "joined")) == starts)
        done = len(events(folder, "commit"))
        wait(provisioner, until=lambda done=done: len(events(folder, "commit")) > done)
        ranks = ranks_of(provisioner)
        assert sorted(ranks) == [0, 1], (folder / "logs" / "texas.log").read_text()
        assert listening(ranks[1]), "a rank listens for the others of its site"
        assert not beyond_loopback(ranks[1])
        assert len(beyond_loopback(ranks[0])) <= 1, "no more than the store at which sites meet is open"
        if starts == 1:
            os.kill(ranks[1], signal.SIGKILL)
    provisioner.terminate()
    wait(provisioner)
    assert [record["how"] for record in events(folder, "joined")] == ["founded", "resumed"]
    assert len(events(folder, "drained")) == 1
