"""Feeds wandb with the sites of an agent, from a process of its own that nobody waits for.

wandb's library starts a service, talks to a server, and holds a process that ends until both have answered.
Here the agent only starts a process and, when it ends, closes the pipe that leads there: what does not end
by itself then, in time, is killed. The process follows the event files; if the agent dies, it ends, too.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from curtail_dist.config import DataConfig, RunConfig
from curtail_dist.data.manifest import read_manifest
from curtail_dist.errors import DataError
from curtail_dist.report.feeder import Feeder
from curtail_dist.telemetry.curves import Curves
from curtail_dist.telemetry.wandb import Common, open_sinks
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
CLOSE_S: Seconds = 30.0
"""Real time for the process to end after the agent's end."""
_DEAD_S: Seconds = 5.0


class WandbProcess:
    """The process that feeds wandb. Owns it, and the pipe that keeps it alive, until `close`."""

    def __init__(self, run_file: Path, sites: Sequence[str], *, close_s: Seconds = CLOSE_S) -> None:
        """Start it for sites of the run file, whose events are below its run directory."""
        self._close_s = close_s
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "curtail_dist.report.wandbprocess", str(run_file), *sites],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the agent, which then closes this
        )

    def close(self) -> None:
        """Let it send what is left, and end; idempotent, bounded, whatever wandb does."""
        if self._closed:
            return
        self._closed = True
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(self._close_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            code = self._process.wait(_DEAD_S)
        if code:
            _LOG.warning(
                "the process that feeds wandb ended with code %s; all events are in the run directory", code
            )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def main(arguments: Sequence[str]) -> int:
    """Feed the sites of a run file until standard input ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config, sites = RunConfig.from_yaml(arguments[0]), arguments[1:]
    directory = config.run.directory
    common = Common(
        run=config.run.name,
        directory=directory,
        config=config.to_mapping(),
        curves=lambda: _curves_of(config.data),
    )
    sinks = open_sinks(sites, common)
    with ExitStack() as stack:
        feeders = [
            stack.enter_context(Feeder(directory, lambda sink=sink: sink, site=site))
            for site, sink in zip(sites, sinks, strict=True)
        ]
        while sys.stdin.buffer.read(1):
            pass
        for feeder in feeders:
            feeder.end()
    return 0


def _curves_of(data: DataConfig) -> Curves:
    """Curves that say how much of the data set is done, where its manifest is on this machine."""
    try:
        manifest = read_manifest(data.manifest)
    except DataError:
        return Curves()
    return Curves(rows=manifest.rows * data.passes, shards=len(manifest.shards) * data.passes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
