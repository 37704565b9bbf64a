"""Commands of the documentation that end by themselves are run as they stand, on a small run of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from curtail_launch.demo.day import write_day
from dashboard.dashboard_runs import write_run
from lengths import write_data
from pages import GENERATED, PAGES, ROOT, typed, words

from curtail_dist.cli.main import main
from curtail_dist.coordination import EmbeddedEtcd

pytestmark = [pytest.mark.launch, pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(120)]

RUN_HERE = {"report", "simulate", "status", "hold", "drain", "release", "stop", "secret", "keys", "doctor"}
RUN_BY = {
    "curtail dashboard": "tests/dashboard/dashboard_runs.py",
    "curtail demo": "tests/launch/conftest.py",
    "curtail etcd": "tests/cli/test_cli_etcd.py",
    "curtail keys role": "tests/cli/test_cli_keys.py",
    "curtail recover": "tests/cli/test_cli_recover.py",
    "curtail site": "tests/docs/test_new_user.py",
    "nanochat.chat": "tests/nanochat/test_generate.py",
    "nanochat.convert": "tests/nanochat/test_convert.py",
    "nanochat.dataset": "tests/nanochat/test_verbs.py",
    "nanochat.eval": "tests/nanochat/test_verbs.py",
    "nanochat.sft": "tests/nanochat/test_sft.py",
    "nanochat.tok_eval": "tests/nanochat/test_tok_eval.py",
    "nanochat.tok_train": "tests/nanochat/test_verbs.py",
    "nanochat.train": "tests/nanochat/test_verbs.py",
    "nanochat.web": "tests/nanochat/web_server.py",
}
"""What serves, trains, or needs what is not here, and the test that runs it."""
PLACES = ("/var/lib/curtail/", "/etc/curtail/")
"""Directories of the machines that the documentation speaks of; here they are the workplace."""
SITES = ("california", "texas", "south-australia", "first", "second", "sun")
ENDLESS = {"--watch"}


def documented() -> list[str]:
    """All commands that a reader would type, each once."""
    return sorted({line for page in PAGES if page not in GENERATED for line in typed(page)})


def verb_of(line: str) -> str:
    """The verb of a command of ours: `curtail report`, `nanochat.train`, `make`."""
    first, *rest = words(line.partition(" [")[0])
    if first == "python":
        return rest[1]
    if first == "make":
        return first
    return f"curtail {rest[0]}" + (" role" if rest[:2] == ["keys", "role"] else "")


ALL = documented()
HERE = [line for line in ALL if verb_of(line).removeprefix("curtail ") in RUN_HERE]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with EmbeddedEtcd(None) as etcd:
        yield etcd.endpoint


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what a small run of three sites has left."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    write_run(directory, sites=3, events=400)
    return directory


@pytest.fixture
def workplace(tmp_path: Path, runs: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch):
    """Be in a directory in which a command finds the run file, grids and runs that it names."""

    def prepare(line: str, given: list[str]) -> None:
        monkeypatch.chdir(tmp_path)
        write_day(tmp_path / "traces")
        power = {"train_w": 2024.0, "idle_w": 468.0}
        day = line.startswith("curtail simulate")
        sites = {
            name: {
                "signal": {"kind": "trace", "path": f"traces/{name}.csv"}
                if day
                else {"kind": "constant", "value": 50},
                "power": power,
            }
            for name in (SITES[:3] if day else SITES)
        }
        run = {"name": f"run-{HERE.index(line)}", "directory": "runs/mine"}
        tree = {
            "run": run | ({"deadline_h": 18, "start": "2026-03-21T17:00:00+00:00"} if day else {}),
            "coordination": {"endpoints": [endpoint]},
            "data": {"manifest": str(write_data(tmp_path / "data", 20))},
            "train": {"program": "own.py"},
            "sites": sites,
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
        (tmp_path / "own.py").write_text("")  # a rank program that finds nothing wrong
        for word in given[1:] if given[0] == "report" else []:
            directory = tmp_path / word.rpartition("=")[2]
            if not word.startswith("--"):
                directory.mkdir(parents=True, exist_ok=True)
                (directory / "events").symlink_to(runs / "events")

    return prepare


@pytest.mark.parametrize("line", HERE)
def test_a_command_is_run_as_it_stands(line: str, workplace, capsys: pytest.CaptureFixture[str]):
    here = line
    for place in PLACES:
        here = here.replace(place, "")
    given = [word for word in words(here)[1:] if word not in ENDLESS]
    workplace(line, given)
    code = main(given)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.out


@pytest.mark.parametrize(
    "verb", sorted({verb_of(line) for line in ALL} - {verb_of(line) for line in HERE} - {"make"})
)
def test_what_is_not_run_here_is_run_by_another_test(verb: str):
    assert verb in RUN_BY, "name the test that runs it"
    text = (ROOT / RUN_BY[verb]).read_text(encoding="utf-8")
    assert verb.rpartition(".")[2].rpartition(" ")[2] in text
