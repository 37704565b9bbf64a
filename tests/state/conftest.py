"""Each kind of place where snapshots may be kept, and servers that are closed with their test."""

import uuid
from contextlib import ExitStack, closing
from urllib.request import Request, urlopen

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer
from relay import Relay
from serving import CHUNK, VERSION

from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer


@pytest.fixture(params=["path", "file", "memory", "s3"])
def url(request, tmp_path):
    if request.param == "s3":
        return f"s3://{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}/run/snapshots"
    places = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{uuid.uuid4().hex}"}
    if request.param == "memory":
        request.addfinalizer(_forget_memory)
    return places[request.param] + "/run/snapshots"


def _forget_memory():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def object_store():
    """A server on loopback that speaks S3; return its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(object_store, monkeypatch):
    """A bucket there, which this process finds as a user's does: by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"bucket-{uuid.uuid4().hex}"
    urlopen(Request(f"{object_store}/{name}", method="PUT"), timeout=10.0).close()
    return name


@pytest.fixture
def serve():
    """Serve a version; with faults, through a relay that has them."""
    with ExitStack() as stack:

        def serve(version=VERSION, *, run="r", chunk_bytes=CHUNK, **faults):
            held = [version]
            server = StateServer(
                run=run, host="127.0.0.1", wire=PlainWire(), current=lambda: held[0], chunk_bytes=chunk_bytes
            )
            stack.enter_context(server)
            server.held = held
            server.peer = ("127.0.0.1", server.port)
            return stack.enter_context(closing(Relay(server.port, **faults))) if faults else server

        yield serve
