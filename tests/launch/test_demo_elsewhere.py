"""The demo's day with its ranks started otherwise: the same run file, another `provisioner` block."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from curtail_launch.demo.script import Material, Wishes, run_tree

from curtail_dist.telemetry.record import read_events

pytestmark = pytest.mark.launch

SITES = ("california", "texas", "south-australia")
LOCAL = Path(__file__).parents[2] / "launch" / "command" / "local.sh"


def commands() -> dict[str, object]:
    argv = {name: [str(LOCAL), name] for name in ("start", "stop", "poll")}
    return {"kind": "command", "command": {**argv, "every_s": 0.1}}


def test_the_run_files_of_two_provisioners_differ_in_that_block_alone(tmp_path):
    material = Material(manifest=tmp_path / "m.json", tokenizer=tmp_path / "t.json", tokens=10_000)
    own = run_tree(Wishes(out=tmp_path, day="short"), material, etcd="a:1", clock="b:2")
    other = run_tree(
        Wishes(out=tmp_path, day="short", provisioner=commands()), material, etcd="a:1", clock="b:2"
    )
    assert [site.pop("provisioner") for site in other["sites"].values()] == [commands()] * 3
    assert other == own


def test_the_shipped_block_is_that_of_the_shipped_script():
    block = yaml.safe_load((LOCAL.parent / "local.yaml").read_text())
    assert block["kind"] == "command"
    script = LOCAL.relative_to(Path(__file__).parents[2])
    assert {name: block["command"][name] for name in ("start", "stop", "poll")} == {
        name: [str(script), name] for name in ("start", "stop", "poll")
    }


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_day_by_commands_trains_every_row_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "command.yaml").write_text(yaml.safe_dump(commands()))
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "curtail_dist.cli.main", "demo", "--out", str(out)]
    argv += ["--day", "short", "--minutes", "0.2", "--provisioner", str(tmp_path / "command.yaml")]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        try:
            said = demo.communicate(timeout=240)[0]
        except BaseException:
            os.killpg(demo.pid, signal.SIGTERM)
            raise
    assert demo.returncode == 0, said
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"]
    rows = summary["rows"]
    assert (rows["trained"], rows["lost"], rows["duplicated"]) == (rows["total"], 0, 0)
    assert {name: one["deaths"] for name, one in summary["sites"].items()} == dict.fromkeys(SITES, 0)
    ends = [record["code"] for record in read_events(out) if record.event == "ranks_exited"]
    assert ends == [0] * len(ends) != []
    assert {one.name for one in (out / "command").glob("*.lock")} == {f"{site}.lock" for site in SITES}
    left = [int(one.read_text()) for one in (out / "command").glob("*.pid")]
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)
