"""What `make` says on a machine that lacks something."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = ("make", "sh", "bash", "find", "touch", "grep", "awk", "cc", "cargo")


@pytest.fixture
def machine(tmp_path):
    """A checkout's Makefile and a PATH that holds only what a test links into it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        if found is not None:
            (tmp_path / "bin" / name).symlink_to(found)
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).touch()
    (tmp_path / "rustbpe" / "src").mkdir(parents=True)
    for name in ("pyproject.toml", "Cargo.toml", "Cargo.lock"):
        (tmp_path / "rustbpe" / name).touch()
    return tmp_path


def make(machine, *arguments):
    environment = {"PATH": str(machine / "bin"), "HOME": os.environ.get("HOME", "/")}
    command = ["make", "setup", *arguments]
    return subprocess.run(command, cwd=machine, env=environment, capture_output=True, text=True, timeout=60)


def test_a_missing_cargo_is_named_with_what_to_do(machine):
    (machine / "bin" / "cargo").unlink()
    done = make(machine)
    assert done.returncode == 2
    assert "cargo is missing" in done.stdout
    assert "install it" in done.stdout


def test_a_missing_c_compiler_is_named_with_what_to_do(machine):
    (machine / "bin" / "cc").unlink()
    done = make(machine)
    assert done.returncode == 2
    assert "a C compiler is missing" in done.stdout


def test_a_missing_python_is_named_with_what_to_do(machine):
    done = make(machine, "PYTHON=python2.7")
    assert done.returncode == 2
    assert "python2.7 is missing or older than 3.11" in done.stdout
