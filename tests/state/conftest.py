"""Each kind of place where snapshots may be kept, and servers that are closed with their test."""

import uuid
from contextlib import ExitStack, closing

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from relay import Relay
from serving import CHUNK, VERSION

from curtail_dist.state.transfer import StateServer


@pytest.fixture(params=["path", "file", "memory"])
def url(request, tmp_path):
    places = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid.uuid4().hex}"}
    yield places[request.param] + "/run/snapshots"
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def serve():
    """Serve a version; with faults, through a relay that has them."""
    with ExitStack() as stack:

        def serve(version=VERSION, *, run="r", chunk_bytes=CHUNK, **faults):
            held = [version]
            server = StateServer(run=run, host="127.0.0.1", current=lambda: held[0], chunk_bytes=chunk_bytes)
            stack.enter_context(server)
            server.held = held
            server.peer = ("127.0.0.1", server.port)
            return stack.enter_context(closing(Relay(server.port, **faults))) if faults else server

        yield serve
