"""A real torchrun on a real etcd: one node, two nodes, behind a closed door, and an outage."""

import base64
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from guarded import private_file

from curtail_dist.coordination import EmbeddedEtcd, EtcdStore
from curtail_dist.coordination.users import ensure_role, ensure_user, run_grants

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

DEADLINE_S = 120.0

# Ranks that import no torch start at once; what torchrun tells them is in the environment.
WRITE_WORLD = """
import json, os, sys
names = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")
path = os.path.join(sys.argv[1], os.environ["RANK"])
with open(path, "w") as file:
    json.dump({name: os.environ[name] for name in names}, file)
"""

# Both ends are pipes of the test: it reads the line and writes one.
WAIT_FOR_WORD = """
import sys
with open(sys.argv[1], "w") as file:
    file.write("begun")
with open(sys.argv[2]) as file:
    sys.exit(0 if file.read() == "go" else 1)
"""

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "LOGLEVEL": "WARNING"}


def torchrun(
    backend: str, endpoint: str, run_id: str, *words: str, nodes: str = "1", conf: str = ""
) -> subprocess.Popen[str]:
    words = ("--rdzv-conf", conf, *words) if conf else words
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1"),
        *("--rdzv-backend", backend, "--rdzv-endpoint", endpoint, "--rdzv-id", run_id),
        *("--local-addr", "127.0.0.1", *words),
    ]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(agent: subprocess.Popen[str]) -> None:
    try:
        _, errors = agent.communicate(timeout=DEADLINE_S)
    finally:
        agent.kill()
    assert agent.returncode == 0, errors
    assert "Exception while registering" not in errors


def script(directory: Path, text: str) -> str:
    path = directory / "script.py"
    path.write_text(text)
    return str(path)


def run_id() -> str:
    return f"run.{uuid.uuid4().hex[:8]}"


def test_the_entry_point_is_installed():
    (point,) = entry_points(group="torchrun.handlers", name="etcd-v3")
    assert point.value == "curtail_dist.rendezvous:register"


@pytest.mark.parametrize("backend", ["etcd", "etcd-v3"])
def test_torchrun_runs_a_script(etcd, tmp_path, backend):
    (tmp_path / "out").mkdir()
    name = run_id()
    program = script(tmp_path, WRITE_WORLD)
    finish(torchrun(backend, etcd.endpoint, name, program, str(tmp_path / "out")))
    told = json.loads((tmp_path / "out" / "0").read_text())
    assert told == {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": name}
    with EtcdStore((etcd.endpoint,), 5.0) as store:
        keys = store.list(f"/curtail/rendezvous/{name}").entries
    assert f"/curtail/rendezvous/{name}" in [entry.key for entry in keys]
    assert all(entry.lease for entry in keys)


def test_two_agents_form_one_world(etcd, tmp_path):
    (tmp_path / "out").mkdir()
    program = script(tmp_path, WRITE_WORLD)
    name = run_id()
    agents = [
        torchrun("etcd", etcd.endpoint, name, program, str(tmp_path / "out"), nodes="2") for _ in range(2)
    ]
    for agent in agents:
        finish(agent)
    told = [json.loads((tmp_path / "out" / rank).read_text()) for rank in ("0", "1")]
    assert [(each["RANK"], each["WORLD_SIZE"]) for each in told] == [("0", "2"), ("1", "2")]


def test_behind_tls_a_role_and_the_runs_secret_it_runs_and_strangers_do_not(guarded, tmp_path):
    secret = private_file(tmp_path / "secret", base64.b64encode(b"s" * 32).decode())
    password = private_file(tmp_path / "password", "of-the-run")
    with closing(guarded.gateway()) as gateway:
        ensure_role(gateway, "curtail.door", run_grants("door"))
        ensure_user(gateway, "door", "of-the-run", "curtail.door")
    names = {"ca": "ca", "cert": "client", "key": "client-key"}
    conf = {name: guarded.keys / f"{file}.pem" for name, file in names.items()}
    conf |= {"user": "door", "password_file": password, "secret_file": secret}
    (tmp_path / "out").mkdir()
    words = (script(tmp_path, WRITE_WORLD), str(tmp_path / "out"))
    name = f"door.{uuid.uuid4().hex[:8]}"
    # The first endpoint answers nobody.
    endpoint = f"127.0.0.1:1,{guarded.endpoint}"

    def said(**changes: object) -> str:
        return ",".join(f"{key}={value}" for key, value in {**conf, **changes}.items())

    finish(torchrun("etcd", endpoint, name, *words, conf=said()))
    assert json.loads((tmp_path / "out" / "0").read_text())["WORLD_SIZE"] == "1"
    with guarded.store() as store:
        keys = store.list(f"/curtail/rendezvous/{name}").entries
    assert len(keys) > 1
    assert all(entry.value.startswith(b"curtail-sealed-1") for entry in keys)

    other = private_file(tmp_path / "other", base64.b64encode(b"t" * 32).decode())
    stranger = torchrun("etcd", endpoint, name, *words, conf=said(secret_file=other))
    errors = stranger.communicate(timeout=DEADLINE_S)[1]
    assert stranger.returncode != 0
    assert "was not written with this run's secret and is not read" in errors


@pytest.fixture
def own_etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(election_timeout_ms=200) as server:
        yield server


@pytest.mark.fault
def test_ranks_outlive_an_outage_of_etcd(own_etcd, tmp_path):
    begun, word = tmp_path / "begun", tmp_path / "word"
    os.mkfifo(begun)
    os.mkfifo(word)
    program = script(tmp_path, WAIT_FOR_WORD)
    agent = torchrun("etcd", own_etcd.endpoint, run_id(), program, str(begun), str(word))
    seen: list[str] = []
    noticed = threading.Event()

    def read_errors() -> None:
        for line in agent.stderr:
            seen.append(line)
            if "the last state it knows" in line:
                noticed.set()

    reader = threading.Thread(target=read_errors)
    reader.start()
    try:
        assert begun.read_text() == "begun"
        own_etcd.stop()
        assert noticed.wait(DEADLINE_S), "".join(seen)
        word.write_text("go")
        assert agent.wait(DEADLINE_S) == 0, "".join(seen)
    finally:
        agent.kill()
        agent.wait()
        reader.join()
        agent.stderr.close()
