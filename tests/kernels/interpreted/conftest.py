"""Tests by Triton's interpreter, in a process of their own: `@triton.jit` asks for it when it runs.

Without TRITON_INTERPRET=1 a run that names this directory fails at once, and one of all tests leaves it out.
"""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent

if os.environ.get("TRITON_INTERPRET") == "1":
    from strict import install

    install()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    asked = [Path(config.invocation_params.dir, each.split("::")[0]).resolve() for each in config.args]
    if any(path.is_relative_to(HERE) for path in asked):
        pytest.exit(
            "TRITON_INTERPRET is not 1, and the interpreter's tests need it, in a process of their own: "
            "TRITON_INTERPRET=1 pytest tests/kernels/interpreted",
            returncode=4,
        )
    return True
