"""The examples do what they say: each is run as a user would run it, in a copy of its directory.

The elastic loop is run by the documentation's walk.
"""

import difflib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curtail_dist.coordination.embedded import EmbeddedEtcd

pytestmark = pytest.mark.launch

EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_S = 150
TIMEOUT_S = 240
MOST_CHANGED = 10


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def etcd():
    with EmbeddedEtcd() as server:
        yield server


@pytest.fixture
def play(tmp_path, etcd):
    """Plays an example's run at both its sites; returns its directory and its summary."""
    agents: list[subprocess.Popen[str]] = []

    def start(name: str, *options: str) -> tuple[Path, dict]:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder)
        settings = [f'coordination.endpoints=["{etcd.endpoint}"]', f"run.name={name}"]
        given = [part for setting in settings for part in ("--set", setting)]
        for site in ("wind", "sun"):
            command = [sys.executable, "-m", "curtail_dist.cli.main", "site", "--config", "run.yaml"]
            log = (folder / f"{site}.log").open("w")
            agents.append(
                subprocess.Popen(
                    [*command, "--site", site, *given, *options], cwd=folder, stdout=log, stderr=log
                )
            )
            log.close()
        deadline = time.monotonic() + DEADLINE_S
        while any(agent.poll() is None for agent in agents):
            assert time.monotonic() < deadline, logs(folder)
            time.sleep(0.1)
        assert [agent.returncode for agent in agents] == [0, 0], logs(folder)
        directory = folder / "runs" / name
        run(folder, "-m", "curtail_dist.cli.main", "report", str(directory))
        return folder, json.loads((directory / "summary.json").read_text())

    yield start
    for agent in agents:
        if agent.poll() is None:
            agent.terminate()
            agent.wait(60)


def logs(folder: Path) -> str:
    return "\n".join(f"== {one}\n{one.read_text()[-3000:]}" for one in folder.rglob("*.log"))


def told(summary: dict, rows: int) -> None:
    """Every row was trained once, at both sites together, and something was learned."""
    assert summary["finished"]
    assert summary["rows"]["total"] == summary["rows"]["trained"] == rows
    assert (summary["rows"]["lost"], summary["rows"]["duplicated"]) == (0, 0)
    assert sum(site["inner_steps"] > 0 for site in summary["sites"].values()) >= 1
    assert summary["loss"]["last"] < summary["loss"]["first"]


def test_few_lines_make_a_plain_loop_elastic():
    plain, elastic = (
        (EXAMPLES / "own_loop" / name).read_text().splitlines() for name in ("plain.py", "elastic.py")
    )
    assert 50 <= len(plain) <= 70
    changes = difflib.SequenceMatcher(None, plain, elastic, autojunk=False).get_opcodes()
    changed = sum(max(b - a, d - c) for kind, a, b, c, d in changes if kind != "equal")
    assert 0 < changed <= MOST_CHANGED


LEAVES_FIRST = """
import os, signal
import curtail_dist as cd
import elastic
from pathlib import Path

with cd.Site(*cd.arguments()) as site:
    os.kill(os.getpid(), signal.SIGTERM)
    model = elastic.main(site)
    assert site.head is None
assert sorted(path.name for path in Path().glob("*.pt")) == ["model.pt"]
assert Path("model.pt").read_text() == "trained"
"""


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_a_site_that_leaves_before_it_came_in_saves_no_untrained_model_over_a_good_one(tmp_path, etcd):
    folder = tmp_path / "own_loop"
    shutil.copytree(EXAMPLES / "own_loop", folder)
    (folder / "model.pt").write_text("trained")
    (folder / "leaves.py").write_text(LEAVES_FIRST)
    settings = [f'coordination.endpoints=["{etcd.endpoint}"]', "run.name=leaves"]
    given = [part for setting in settings for part in ("--set", setting)]
    run(folder, "leaves.py", "--config", "run.yaml", "--site", "wind", *given)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_the_plain_loop_runs_where_nothing_of_the_library_is_imported(tmp_path):
    shutil.copy(EXAMPLES / "own_loop" / "plain.py", tmp_path)
    play = "import sys, runpy; runpy.run_path('plain.py', run_name='__main__')"
    said = run(tmp_path, "-c", f"{play}; assert 'curtail_dist' not in sys.modules")
    assert said.startswith("step 0: loss 5.")
    assert (tmp_path / "model.pt").exists()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_a_transformers_model_trains_at_two_sites_and_is_kept_as_transformers_does(play):
    folder, summary = play("transformers", "--unchecked")
    told(summary, 1536)
    assert (folder / "runs/transformers/model/config.json").exists()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_a_vision_model_keeps_ddp_inside_a_site(play):
    _, summary = play("vision", "--unchecked")
    told(summary, 1536)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
def test_two_outer_optimizers_are_compared_without_a_site(tmp_path):
    said = run(tmp_path, str(EXAMPLES / "research" / "outer_optimizers.py"))
    ends = {
        line.rsplit("after a round", 1)[0][:16].strip(): float(line.split(", ")[1].split()[0])
        for line in said.splitlines()
    }
    assert ends["Nesterov .7 / .9"] < ends["plain averaging"]
    assert (tmp_path / "outer_optimizers.png").stat().st_size > 10_000
