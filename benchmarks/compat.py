"""Runs tests with the oldest torch that is supported and with the newest, each in its own environment.

The environments lie in .tools/compat/, some 5 GB each, and are kept for the next time. All but torch and what
torch brings along is of the versions in uv.lock.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".tools" / "compat"
TORCHS = ("2.11", "newest")
TESTS = ("tests/rendezvous", "tests/outer/test_gloo.py", "tests/runtime/test_runtime_pair.py")
INTERPRETED = "tests/kernels/interpreted"
"""Tests of the kernels with the Triton that comes with each torch."""
HELD_BACK = {"2.11": ["numpy<2.4"]}
"""What is older than in uv.lock: the interpreter of Triton 3.6 does not work with NumPy 2.4 and later."""
OF_TORCH = re.compile(r"(torch|triton|nvidia-|cuda-|setuptools)", re.IGNORECASE)
"""Requirements that each torch has of its own."""


def environment(uv: str, python: str, version: str) -> Path:
    """Make the environment for a version of torch, or bring it up to date; return its Python."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    minor = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
    folder = PLACE / f"torch-{version}-python-{minor}"
    if not folder.is_dir():
        run(uv, "venv", "--quiet", "--python", python, str(folder))
    exported = subprocess.run(
        [uv, "export", "--quiet", "--locked", "--all-groups", "--no-hashes", "--no-emit-workspace"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    constraints = PLACE / "constraints.txt"
    held = HELD_BACK.get(version, [])
    names = tuple(f"{re.split('[<>=]', one)[0]}==" for one in held)
    kept = [line for line in exported.splitlines() if not (OF_TORCH.match(line) or line.startswith(names))]
    constraints.write_text("\n".join([*kept, *held]) + "\n")
    wanted = ["--upgrade-package", "torch", "torch"] if version == "newest" else [f"torch=={version}.*"]
    own = folder / "bin" / "python"
    common = ["pip", "install", "--quiet", "--python", str(own), "--constraint", str(constraints)]
    run(uv, *common, *wanted, "--editable", ".", "--group", "dev")
    return own


def run(*words: str) -> None:
    subprocess.run(words, cwd=ROOT, check=True)


def pytest(python: Path, *words: str, **variables: str) -> int:
    command = [str(python), "-m", "pytest", "-q", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, check=False
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uv", default="uv", metavar="PATH", help="the uv to use (uv)")
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="which Python (this one)")
    parser.add_argument(
        "--torch", action="append", metavar="VERSION", help=f"which torch, by default {' and '.join(TORCHS)}"
    )
    parser.add_argument("tests", nargs="*", default=TESTS, metavar="TEST", help="which tests")
    args = parser.parse_args()
    PLACE.mkdir(parents=True, exist_ok=True)
    codes: list[int] = []
    for version in args.torch or TORCHS:
        python = environment(args.uv, args.python, version)
        run(str(python), "-c", "import sys, torch; print('torch', torch.__version__, 'Python', sys.version)")
        codes.append(pytest(python, "-m", "not system", *args.tests))
        codes.append(pytest(python, "-n", "2", INTERPRETED, TRITON_INTERPRET="1"))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
