"""A script run as the ranks of one site, as torchrun would start them: real processes, over Gloo."""

import signal
from pathlib import Path
from typing import Any

from nursery import Nursery

from curtail_dist.outer.gloo import GroupStore

HOST = "127.0.0.1"
DEADLINE_S = 100.0


def run_ranks(
    nursery: Nursery, script: Path, size: int, *arguments: str, output: Path, deadline_s: float = DEADLINE_S
) -> list[dict[str, Any]]:
    """Run `script` at `size` ranks; return what each printed last, as JSON. `output` is a directory.

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
    }
    ranks = [
        nursery.fork(
            script,
            arguments,
            site=script.stem,
            output=output / f"rank{rank}",
            environment={**shared, "RANK": str(rank)},
        )
        for rank in range(size)
    ]
    try:
        return [one.result(deadline_s) for one in ranks]
    finally:
        for one in ranks:
            one.send(signal.SIGKILL)
