"""Serves the dashboard until it is interrupted."""

import gc
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from curtail_dist.dashboard.app import Streams, build_app
from curtail_dist.dashboard.follow import Follower
from curtail_dist.dashboard.reckoning import Reckoner
from curtail_dist.errors import UserError
from curtail_dist.security.opening import is_here
from curtail_dist.units import Seconds

GARBAGE = 100_000
"""Objects made since garbage was last collected at which it is again."""
FIRST_READ_S: Seconds = 3.0
"""For how long at most the files are read before the address is told: a page that is opened meanwhile and the
reading hold each other up."""
SWITCH_S: Seconds = 0.0005
"""How long a thread that reads events may keep those waiting that answer pages."""


class _Server(uvicorn.Server):
    """Ends the open streams as soon as it is told to stop; without that it would wait for them."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._streams.closing = True
        super().handle_exit(sig, frame)


def serve(directories: Sequence[Path], *, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve the run in `directories` until SIGINT or SIGTERM; give `told` the address once it listens.

    Raises UserError where nothing can listen at `host` and `port` (0: any free one). From then on this
    process collects garbage more rarely, and changes threads more often.
    """
    listening = _listen(host, port)
    streams = Streams()
    names = frozenset({host, "localhost", "127.0.0.1", "::1"}) if is_here(host) else frozenset[str]()
    follower = Follower(directories)
    reckoner = Reckoner(directories, news=lambda: _news(follower))
    # What a run is read into is no garbage: to look through it again and again takes a third of the time.
    gc.freeze()
    gc.set_threshold(GARBAGE)
    sys.setswitchinterval(SWITCH_S)
    with listening, follower, reckoner:
        app = build_app(follower, reckoner, streams, hosts=names)
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        follower.wait(FIRST_READ_S)
        told(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        _Server(config, streams).run(sockets=[listening])


def _news(follower: Follower) -> object | None:
    generation, rev, caught_up, problem = follower.version
    return (generation, rev) if caught_up and rev and not problem else None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"--host and --port are {host} and {port}, where nothing can listen ({error}); "
            "they must be free: try --port 0"
        ) from error
