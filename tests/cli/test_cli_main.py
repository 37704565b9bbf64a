import os
import subprocess
import sys
from pathlib import Path

import pytest

from curtail_dist.cli.main import VERBS, main
from curtail_dist.cli.verb import Verb

CHECK = """
import sys
from curtail_dist.cli.main import main
code = main({argv!r})
heavy = [name for name in ("torch", "wandb", "nanochat", {extra}) if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else code)
"""


def run_cold(argv: list[str], *extra: str, path: str = "") -> subprocess.CompletedProcess[str]:
    code = CHECK.format(argv=argv, extra=", ".join(map(repr, extra)))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_the_overview_imports_no_verb():
    done = run_cold(["--help"], "numpy", "matplotlib", "rich", "requests")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in VERBS)
    assert "play a curtailment day in minutes" in done.stdout
    assert "check etcd, addresses, secret, signals" in " ".join(done.stdout.split())


def test_the_overview_says_which_verb_of_another_package_cannot_be_loaded(tmp_path: Path):
    package = tmp_path / "weather-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: weather\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[curtail.verbs]\nforecast = weather_gone:VERB\n")
    done = run_cold(["--help"], path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "forecast the verb forecast cannot be loaded (No module named 'weather_gone')" in said
    assert "report.html, report.png" in said


@pytest.mark.parametrize("verb", ["site", "status", "simulate", "report", "etcd"])
def test_a_verb_of_the_control_plane_starts_without_torch(verb: str):
    done = run_cold([verb, "--help"])
    assert done.returncode == 0, done.stderr
    assert f"usage: curtail {verb}" in done.stdout


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_table_is_one(name: str):
    import importlib

    module, _, attribute = VERBS[name][0].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Verb)
    assert found.name == name


@pytest.mark.parametrize("argv", [[], ["no-such-verb"], ["report"], ["report", "a", "--no-such-option"]])
def test_wrong_input_is_one_line_and_two(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(argv) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_console_script_hands_its_exit_code_on():
    script = [sys.executable, "-m", "curtail_dist.cli.main", "report", "/no/such/run"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert done.stderr == "curtail: /no/such/run is no directory; give the directory of a run\n"
