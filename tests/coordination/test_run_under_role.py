"""A whole run of real sites that etcd lets reach nothing but the run's own keys."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from guarded import Guarded, private_file
from lengths import write_data

from curtail_dist.coordination.users import ensure_role, ensure_user, run_grants
from curtail_dist.errors import CoordinationError

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).parents[1] / "runtime" / "program.py"
ROWS = 400
RUN, OTHER = "under", "underneath"
SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 100.0, "idle_w": 10.0}}
DEADLINE_S = 90.0


def write_run_file(folder: Path, etcd: Guarded) -> Path:
    tree = {
        "run": {"name": RUN, "directory": str(folder / "run"), "seed": 1},
        "sites": {"a": SITE, "b": SITE},
        "coordination": {
            "endpoints": [etcd.endpoint],
            "tls": {name: str(etcd.keys / f"{file}.pem") for name, file in FILES.items()},
            "user": RUN,
            "password_file": "password",
        },
        "round": {"steps": 10, "grace_s": 1.0},
        "data": {"manifest": str(write_data(folder / "data", ROWS))},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


FILES = {"ca": "ca", "cert": "client", "key": "client-key"}


@pytest.fixture
def run_file(guarded: Guarded, tmp_path: Path) -> Path:
    """The run file of a run that has a user of its own."""
    private_file(tmp_path / "password", "of-the-run")
    with closing(guarded.gateway()) as gateway:
        ensure_role(gateway, f"curtail.{RUN}", run_grants(RUN))
        ensure_user(gateway, RUN, "of-the-run", f"curtail.{RUN}")
    return write_run_file(tmp_path, guarded)


def test_a_run_completes_under_its_role_and_reads_no_other(guarded, run_file, tmp_path):
    with guarded.store() as root:
        root.put(f"/curtail/{OTHER}/head", b"another run's")
        command = [sys.executable, str(PROGRAM), "--config", str(run_file), "--site"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        sites = [
            subprocess.Popen(
                [*command, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for name in ("a", "b")
        ]
        try:
            ended = [site.communicate(timeout=DEADLINE_S) for site in sites]
        finally:
            for site in sites:
                site.kill()
        assert [site.returncode for site in sites] == [0, 0], [errors for _, errors in ended]
        results = [json.loads(out.splitlines()[-1]) for out, _ in ended]
        assert results[0]["hash"] == results[1]["hash"]
        assert sorted(row for result in results for row in result["seen"]) == list(range(ROWS))
        written = [entry.key for entry in root.list("/curtail/").entries]
        assert f"/curtail/{RUN}/head" in written
    with guarded.store(RUN, tmp_path / "password") as own:
        assert own.get(f"/curtail/{RUN}/head") is not None
        for look in (lambda: own.get(f"/curtail/{OTHER}/head"), lambda: own.list("/curtail/")):
            with pytest.raises(CoordinationError, match="permission denied"):
                look()
