"""Runs each library in a process of its own: two of them are called `rustbpe`.

Peers live in an environment of their own, with pinned versions.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
PEERS = {
    "rustbpe": "rustbpe==0.1.0",
    "tokenizers": "tokenizers==0.23.3",
    "bpeasy": "bpeasy==0.1.6",
    "gigatoken": "gigatoken==0.10.0",
    "ffbpe": "ffbpe==0.1.10",
    "tiktoken": "tiktoken==0.14.0",
    "numpy": "numpy==2.4.6",
}
OURS = "ours"
PATIENCE_S = 900.0


class Failed(RuntimeError):
    """A library's process ended without a result; the message is its last line."""


def install(environment: Path) -> Path:
    """Make the peers' environment unless it is there; return its Python."""
    python = environment / "bin" / "python"
    ready = environment / "peers.txt"
    pins = "\n".join(PEERS.values())
    if not ready.is_file() or ready.read_text() != pins:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS.values()], check=True)
        ready.write_text(pins)
    return python


def run(
    python: Path, what: str, library: str, threads: int, *, patience_s: float = PATIENCE_S, **rest: Any
) -> Any:
    """What `python -m bpe.work what` says of a library that may use so many threads.

    Raises:
        Failed: It ended with an error, or took longer than `patience_s`.
    """
    own = os.environ.get("PYTHONPATH", "") if library.startswith(OURS) else ""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(BENCHMARKS), own])),
        "OMP_NUM_THREADS": str(threads),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    interpreter = sys.executable if library.startswith(OURS) else str(python)
    asked = json.dumps({"library": library, "threads": threads, **rest}, default=str)
    try:
        done = subprocess.run(
            [interpreter, "-m", "bpe.work", what, asked],
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"not done after {patience_s:g} s") from late
    if done.returncode:
        said = " / ".join(done.stderr.strip().splitlines()[-2:])
        raise Failed(f"exit status {done.returncode}: {said}")
    return json.loads(done.stdout.splitlines()[-1])
