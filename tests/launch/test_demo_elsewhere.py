"""The demo's day with its ranks started otherwise: the same run file, another `provisioner` block."""

from pathlib import Path

import pytest
import yaml
from curtail_launch.demo.script import Material, Wishes, run_tree
from shortday import SITES, TIMEOUT_S, play_short_day

pytestmark = pytest.mark.launch

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
@pytest.mark.timeout(TIMEOUT_S)
def test_a_short_day_by_commands_trains_every_row_and_leaves_nothing_behind(tmp_path):
    out = play_short_day(tmp_path, commands())
    assert {one.name for one in (out / "command").glob("*.lock")} == {f"{site}.lock" for site in SITES}
    left = [int(one.read_text()) for one in (out / "command").glob("*.pid")]
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)
