"""torchrun's elasticity over etcd beside torch's own c10d: the same job, the same facts, real torchruns."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from guarded import debian_etcd
from job import Job, parameters
from torch.distributed.elastic.rendezvous import RendezvousClosedError, RendezvousHandler
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.rendezvous.backend import open_backend

pytestmark = [
    pytest.mark.launch,
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.fault,
    pytest.mark.timeout(600),
]

OVER = [
    "c10d",
    "etcd-v3",
    pytest.param("etcd 3.4", marks=pytest.mark.system),
]


SHARING = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""Unless it is 1, a job over c10d cannot grow: torch publishes the address of the store that an agent shares
with its ranks in the first round alone. This package's backend sets it where it is not set."""


@dataclass(frozen=True, kw_only=True)
class Over:
    """A job, and what its rendezvous is kept in."""

    job: Job
    new_handler: Callable[[], RendezvousHandler]
    """How a further node comes in."""
    restart: Callable[[], None] | None
    """Restarts what keeps the rendezvous; None where that cannot be."""


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(params=OVER)
def over(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Over]:
    run_id = f"run.{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        if request.param == "c10d":
            given = parameters("c10d", free_endpoint(), run_id, is_host="false")
            # The store is the test's, so that it outlives each node, as an etcd does.
            state, _ = create_backend(parameters("c10d", given.endpoint, run_id, is_host="true"))
            variables, restart = {SHARING: "1"}, None
        else:
            if request.param == "etcd 3.4":
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                patch.setenv("PATH", str(debian_etcd(tmp_path)), prepend=os.pathsep)
            etcd = stack.enter_context(EmbeddedEtcd(tmp_path / "data"))
            given = parameters("etcd", etcd.endpoint, run_id)
            state, _ = open_backend(given)
            variables, restart = {}, etcd.restart
        job = stack.enter_context(closing(Job(tmp_path, state, given, variables)))
        # What a handler of this process sets there is taken back.
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(SHARING, "")
        patch.delenv(SHARING)

        def new_handler() -> RendezvousHandler:
            return get_rendezvous_handler(given)

        yield Over(job=job, new_handler=new_handler, restart=restart)


def test_a_job_forms_grows_replaces_shrinks_and_closes(over):
    job = over.job

    # Forms with the least number of nodes.
    job.start("a")
    alone = job.until_world("a")

    # Grows when nodes come: the ranks start anew and see the wider world.
    job.start("b")
    job.start("c")
    three = job.until_world("a", "b", "c")
    assert three["a"].pid != alone["a"].pid

    # One beyond the most waits, and disturbs nobody.
    job.start("d")
    job.until(lambda: len(job.record().redundancy_list) == 1, "d on the list of those beyond the most")
    assert job.seats() == three
    assert len(job.record().participants) == 3

    # What keeps the rendezvous may restart meanwhile.
    if over.restart is not None:
        over.restart()
        assert job.seats() == three

    # A node that is killed is replaced by the one that waits, once a survivor's rank fails.
    job.kill("c")
    job.fail("a")
    job.until_world("a", "b", "d")

    # Without one that waits, the world shrinks.
    job.kill("d")
    job.fail("b")
    job.until_world("a", "b")
    assert len(job.record().participants) == 2

    # It closes when the ranks are done, for later nodes, too.
    assert job.end() == {"a": 0, "b": 0}
    assert job.record().closed
    with pytest.raises(RendezvousClosedError):
        over.new_handler().next_rendezvous()
