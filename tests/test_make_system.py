"""`make browser` and `make test-system` on machines with and without Chromium, root and a package manager."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = ("make", "sh", "find", "cat")


@pytest.fixture
def machine(tmp_path):
    """A checkout whose environment stands, and a PATH that holds only what a test puts there."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in NEEDED:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    for name in (
        "pyproject.toml",
        "uv.lock",
        "rustbpe/pyproject.toml",
        "rustbpe/Cargo.toml",
        "rustbpe/Cargo.lock",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "rustbpe" / "src").mkdir()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / ".ready").touch()
    program(tmp_path / ".venv" / "bin" / "pytest", 'echo "pytest $*"')
    return tmp_path


def program(path, line):
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def user(machine, number):
    program(machine / "bin" / "id", f"echo {number}")


def make(machine, target):
    environment = {"PATH": str(machine / "bin"), "HOME": os.environ.get("HOME", "/")}
    command = ["make", target]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, timeout=60)


def test_a_browser_that_is_there_is_kept(machine):
    user(machine, 0)
    program(machine / "bin" / "apt-get", "exit 1")
    program(machine / "bin" / "google-chrome", "true")
    done = make(machine, "browser")
    assert done.returncode == 0 and done.stdout.endswith("bin/google-chrome\n")


def test_root_gets_one_from_the_package_manager(machine):
    user(machine, 0)
    program(machine / "bin" / "apt-get", f'echo "$*" >> {machine}/asked')
    assert make(machine, "browser").returncode == 0
    asked = (machine / "asked").read_text().splitlines()
    assert asked[0].startswith("update") and asked[1].startswith("install") and asked[1].endswith("chromium")


def test_who_is_not_root_is_told_what_to_do(machine):
    user(machine, 1_000)
    program(machine / "bin" / "apt-get", f"touch {machine}/asked")
    done = make(machine, "browser")
    assert done.returncode == 2 and "sudo apt-get install chromium" in done.stdout
    assert not (machine / "asked").exists()


@pytest.mark.parametrize("number", [0, 1_000])
def test_without_a_browser_the_system_tests_run_and_it_is_said_that_some_are_skipped(machine, number):
    user(machine, number)
    program(machine / "bin" / "apt-get", "exit 100")
    done = make(machine, "test-system")
    assert done.returncode == 0
    assert "the tests in a browser are skipped" in done.stdout
    assert "pytest -m system tests" in done.stdout


def test_the_tests_without_root_start_no_browser(machine):
    program(machine / "bin" / "cargo", "true")
    done = make(machine, "test")
    chosen = "-m not system and not hopper and not launch tests"
    assert "pytest -n 3 --dist loadfile" in done.stdout and chosen in done.stdout
