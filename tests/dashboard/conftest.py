"""A dashboard's server in a thread of the test, on a free port."""

import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from curtail_dist.dashboard.app import Streams, build_app
from curtail_dist.dashboard.follow import Follower
from curtail_dist.dashboard.reckoning import Reckoner


@contextmanager
def _serving(*directories):
    listening = socket.create_server(("127.0.0.1", 0))
    streams = Streams()
    reckoner = Reckoner(directories, news=lambda: None)  # not started: its process would take seconds
    with listening, Follower(directories, every_s=0.02) as follower:
        app = build_app(follower, reckoner, streams, hosts=frozenset({"127.0.0.1", "localhost"}))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            streams.closing = server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def serving():
    """A context that serves the run in some directories; its value is the address."""
    return _serving
