"""nanochat at a site of two ranks, as a site's agent starts them: torchrun, a real etcd, real training."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from curtail_launch.demo.script import learning, write_run_file

from curtail_dist.config import RunConfig
from curtail_dist.coordination.embedded import EmbeddedEtcd
from curtail_dist.membership.provision import ProcessProvisioner
from curtail_dist.report import summarize
from curtail_dist.telemetry.record import Record, read_events

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

DEADLINE_S = 120.0
RANKS = 2
BATCH, SEQUENCE = 8, 64
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
    options = {"program": str(PROGRAM), "device": "cpu", "device_batch_size": BATCH, "eval_sequences": BATCH}
    return {
        "run": {"name": "ranks", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": {"texas": SITE},
        "round": {"steps": ROUND_STEPS},
        "state": {"durable_before_commit": True},
        **learned,
        "train": {**learned["train"], **options},
    }


@pytest.fixture(scope="module")
def trained(material, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks") / "run"
    with EmbeddedEtcd() as etcd:
        run_file = write_run_file(tree(material, folder, etcd.endpoint), folder)
        provisioner = ProcessProvisioner(RunConfig.from_yaml(run_file), run_file, "texas")
        try:
            provisioner.start()
            deadline = time.monotonic() + DEADLINE_S
            while provisioner.poll().running and time.monotonic() < deadline:
                time.sleep(0.05)
            code = provisioner.poll().code
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
    assert len(first["steps"]) > 2 * ROUND_STEPS
    assert first["steps"] == second["steps"]
    assert first["end"] == second["end"]
    assert len(set(first["steps"])) == len(first["steps"]), "a step changed nothing"


def test_a_step_of_the_site_has_the_tokens_of_both_ranks(trained):
    steps = [record for record in trained.events if record.event == "step"]
    tokens = [record["tokens"] / record["steps"] for record in steps]
    assert sum(record["steps"] for record in steps) == len(trained.ranks[0]["steps"])
    assert sum(record["tokens"] for record in steps) == trained.summary["tokens"]
    assert max(tokens) == RANKS * BATCH * SEQUENCE
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
