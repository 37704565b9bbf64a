"""A script run as the ranks of one site, as torchrun would start them: real processes, over Gloo."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from curtail_dist.outer.gloo import GroupStore

HOST = "127.0.0.1"
DEADLINE_S = 100.0
"""Importing torch's compiler, which DistributedDataParallel does, takes half a minute on a busy machine."""


def run_ranks(
    script: Path, size: int, *arguments: str, deadline_s: float = DEADLINE_S
) -> list[dict[str, Any]]:
    """Run `script` at `size` ranks; return what each printed last, as JSON.

    The place where they meet outlives each of them, as torchrun's does. Each must end with code 0, and within
    `deadline_s`.
    """
    meeting = GroupStore(HOST)
    shared = {
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": HOST,
        "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "OMP_NUM_THREADS": "1",
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **shared, "RANK": str(rank)},
        )
        for rank in range(size)
    ]
    try:
        with ThreadPoolExecutor(size) as pool:  # a rank whose output nobody reads would make the others wait
            said = list(pool.map(lambda rank: rank.communicate(timeout=deadline_s), ranks))
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    for rank, (_, errors) in zip(ranks, said, strict=True):
        assert rank.returncode == 0, errors
    return [json.loads(out.splitlines()[-1]) for out, _ in said]
