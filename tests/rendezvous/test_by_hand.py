"""Three torchruns typed by hand, one a site and no agent anywhere: they form one run and finish it."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from curtail_launch.demo.script import Material, Wishes, learning, prepare

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.report.build import summarize
from curtail_dist.telemetry.record import read_events

pytestmark = [pytest.mark.launch, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

DEADLINE_S = 240.0
SITES = ("california", "south-australia", "texas")
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return prepare(Wishes(out=tmp_path_factory.mktemp("material"), day="short", minutes=0.2))


def tree(material: Material, folder: Path, etcd: str) -> dict[str, object]:
    """The run file of the smallest model at three sites, on the real clock."""
    learned = learning(material)
    shape = {"n_layer": 1, "n_embd": 32, "n_head": 2, "sequence_length": 64}
    return {
        "run": {"name": "by-hand", "directory": str(folder), "seed": 1},
        "coordination": {"endpoints": [etcd]},
        "sites": dict.fromkeys(SITES, SITE),
        "round": {"steps": 40},
        **learned,
        "model": {**learned["model"], **shape},
        "train": {**learned["train"], "device": "cpu", "device_batch_size": 8, "eval_sequences": 8},
    }


def hand_out(text: str, files: list[Path]) -> None:
    """Write a run file into named pipes once all who are to read it have opened theirs.

    Starting takes a process longer than the run does: so nobody is done before the last has begun.
    """
    with ExitStack() as stack:
        for pipe in [stack.enter_context(file.open("w")) for file in files]:
            pipe.write(text)


def torchrun(run_file: Path, etcd: str, site: str, log: Path) -> subprocess.Popen[bytes]:
    """What a user types at a site."""
    words = [
        *("--nnodes", "1", "--rdzv-backend", "etcd", "--rdzv-endpoint", etcd, "--rdzv-id", f"by-hand.{site}"),
        *("-m", "curtail_launch.train", "--config", str(run_file), "--site", site),
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def end(agent: subprocess.Popen[bytes]) -> None:
    agent.terminate()
    agent.wait(DEADLINE_S)


def test_three_sites_form_one_run_and_do_every_row_once(material, tmp_path):
    agents: list[subprocess.Popen[bytes]] = []
    folder, files = tmp_path / "run", [tmp_path / f"{site}.yaml" for site in SITES]
    logs = [tmp_path / f"{site}.log" for site in SITES]
    for file in files:
        os.mkfifo(file)
    with EmbeddedEtcd() as etcd, ExitStack() as stack:
        for site, file, log in zip(SITES, files, logs, strict=True):
            agent = torchrun(file, etcd.endpoint, site, log)
            stack.callback(end, agent)
            agents.append(agent)
        hand_out(yaml.safe_dump(tree(material, folder, etcd.endpoint)), files)
        codes = [agent.wait(DEADLINE_S) for agent in agents]
    assert codes == [0, 0, 0], "\n".join(log.read_text() for log in logs)
    commits = [record for record in read_events(folder) if record.event == "commit"]
    workers = {work["site"] for record in commits for work in record["work"]}
    assert workers == set(SITES)
    hashes: dict[int, set[str]] = {}
    for record in commits:
        hashes.setdefault(record["version"], set()).add(record["hash"])
    assert {len(found) for found in hashes.values()} == {1}
    rows = summarize([folder])["rows"]
    assert rows["trained"] == rows["total"]
    assert (rows["lost"], rows["duplicated"]) == (0, 0)
