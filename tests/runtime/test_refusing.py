"""How a user's own script ends over what the user gave: what it says, its code, what its agent is told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.errors import ConfigError, DataError, IdentityMismatch, StoreUnavailable, UserError
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.refusal import Refusal
from curtail_dist.runtime.refusing import is_final
from curtail_dist.telemetry.joining import DECIDED_AT

KEY = Keys("day").refused("a")
SCRIPT = """
import curtail_dist as cd

with cd.Site(*cd.arguments()) as site:
    {body}
"""
REFUSES = "raise cd.IdentityMismatch('outer.lr is 0.5,\\nthe run\\'s is 0.7; use the run\\'s own')"
SAID = "outer.lr is 0.5, the run's is 0.7; use the run's own"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EmbeddedEtcd]:
    with EmbeddedEtcd(None) as server:
        yield server


@pytest.fixture
def run_file(etcd: EmbeddedEtcd, tmp_path: Path) -> Path:
    rows = {"schema": 1, "name": "numbers", "rows": 8}
    (tmp_path / "data.json").write_text(json.dumps(rows))
    site = {"signal": {"kind": "constant", "value": 1}, "power": {"train_w": 1, "idle_w": 1}}
    tree = {
        "run": {"name": "day", "directory": "run"},
        "coordination": {"endpoints": [etcd.endpoint], "timeout_s": 1},
        "sites": {"a": site},
        "data": {"manifest": "data.json"},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    with open_store(RunConfig.from_yaml(path).coordination) as store:
        store.delete(KEY)
    return path


def play(run_file: Path, *arguments: str, body: str = REFUSES, start: str | None = "7.000"):
    """Run the script as torchrun does, started by an agent unless there is no `start`."""
    script = run_file.with_name("own.py")
    script.write_text(SCRIPT.format(body=body))
    environment = {name: value for name, value in os.environ.items() if name != DECIDED_AT}
    if start is not None:
        environment[DECIDED_AT] = start
    command = [sys.executable, str(script), "--config", str(run_file), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def told(run_file: Path) -> Refusal | None:
    with open_store(RunConfig.from_yaml(run_file).coordination) as store:
        entry = store.get(KEY)
    return None if entry is None else Refusal.decode(entry.value)


def test_a_mistake_of_the_user_ends_a_script_with_one_line_and_code_2_and_its_agent_is_told(run_file):
    done = play(run_file, "--site", "a")
    assert (done.returncode, done.stderr) == (2, f"error: {SAID}\n")
    assert told(run_file) == Refusal(reason=SAID, start="7.000", final=True)


def test_a_script_that_no_agent_has_started_tells_none(run_file):
    done = play(run_file, "--site", "a", start=None)
    assert (done.returncode, done.stderr) == (2, f"error: {SAID}\n")
    assert told(run_file) is None


def test_a_missing_manifest_is_told_and_may_come_yet(run_file):
    run_file.with_name("data.json").unlink()
    done = play(run_file, "--site", "a")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    refusal = told(run_file)
    assert refusal is not None and not refusal.final
    assert done.stderr == f"error: {refusal.reason}\n"
    assert "data.json" in refusal.reason


def test_where_the_store_does_not_answer_the_log_alone_says_it(run_file):
    body = "import os; os.environ['CURTAIL_DECIDED_AT'] = '8.000'; " + REFUSES
    script = f"import curtail_dist as cd\nconfig, site = cd.arguments()\n{body}\n"
    path = run_file.with_name("alone.py")
    path.write_text(script)
    command = [sys.executable, str(path), "--config", str(run_file), "--site", "a"]
    command += ["--set", "coordination.endpoints=['127.0.0.1:9']"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == f"error: {SAID}"
    assert second.startswith("the site's agent could not be told: etcd does not answer")


def test_what_is_no_mistake_of_the_user_keeps_its_traceback(run_file):
    done = play(run_file, "--site", "a", body="raise cd.PeerLost('gone')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "PeerLost: gone" in done.stderr
    assert told(run_file) is None


def test_a_check_reads_the_manifest(run_file):
    assert play(run_file, "--check").returncode == 0
    run_file.with_name("data.json").unlink()
    done = play(run_file, "--check")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "data.json" in done.stderr


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (IdentityMismatch("outer.lr is 0.5"), True),
        (ConfigError("train.device is cuda"), True),
        (UserError("the run is not known"), True),
        (DataError("the manifest is missing"), False),
        (caused(ConfigError("the secret cannot be read"), OSError("stale")), False),
        (
            caused(ConfigError("sites.a.address is auto"), caused(ConfigError("no way"), OSError("down"))),
            False,
        ),
        (StoreUnavailable("no answer"), False),
    ],
    ids=str,
)
def test_what_rests_on_data_or_on_the_machine_may_be_mended_and_else_no_start_can_go_better(error, final):
    assert is_final(error) == final
