"""The two parts that torch's elastic handler stands on, over a store in this process."""

import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import DistStoreError, PrefixStore
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousParameters,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from curtail_dist.coordination import EmbeddedEtcd, EtcdStore, MemoryStore
from curtail_dist.rendezvous.agent_store import AgentStore
from curtail_dist.rendezvous.backend import LongLease, StoreBackend, open_backend, parse_endpoints
from curtail_dist.rendezvous.seal import Seal

DEADLINE_S = 10.0


def make_backend(store) -> StoreBackend:
    return StoreBackend(store, LongLease(store).renewed, key="/r/x", name="etcd", seal=Seal(None))


def make_agent_store(store, timeout_s: float = DEADLINE_S) -> AgentStore:
    agents = AgentStore(store, LongLease(store).renewed, prefix="/r/x/keys/", seal=Seal(None))
    agents.set_timeout(timedelta(seconds=timeout_s))
    return agents


def test_without_a_state_there_is_none():
    assert make_backend(MemoryStore()).get_state() is None


def test_the_first_state_is_written_without_a_token():
    backend = make_backend(MemoryStore())
    state, token, written = backend.set_state(b"one")
    assert (state, written) == (b"one", True)
    assert backend.get_state() == (b"one", token)


def test_a_state_without_a_token_does_not_replace_one():
    first, second = make_backend(store := MemoryStore()), make_backend(store)
    _, token, _ = first.set_state(b"one")
    assert second.set_state(b"two") == (b"one", token, False)


def test_a_stale_token_gets_the_state_that_stands():
    first, second = make_backend(store := MemoryStore()), make_backend(store)
    _, old, _ = first.set_state(b"one")
    _, new, written = second.set_state(b"two", old)
    assert written
    assert first.set_state(b"three", old) == (b"two", new, False)


def test_a_token_of_a_state_that_is_gone_writes_nothing():
    backend = make_backend(store := MemoryStore())
    _, token, _ = backend.set_state(b"one")
    store.delete("/r/x")
    assert backend.set_state(b"two", token) is None
    assert backend.get_state() is None


def test_a_lost_store_answers_reads_from_memory_and_takes_no_writes():
    backend = make_backend(store := MemoryStore())
    _, token, _ = backend.set_state(b"one")
    store.close()
    assert backend.get_state() == (b"one", token)
    assert backend.set_state(b"two", token) == (b"one", token, False)


def test_a_write_to_a_store_that_never_answered_is_an_error():
    store = MemoryStore()
    backend = make_backend(store)
    store.close()
    with pytest.raises(RendezvousConnectionError, match="closed"):
        backend.set_state(b"one")


def test_a_store_that_never_answered_has_no_state_to_go_on_with():
    store = MemoryStore()
    backend = make_backend(store)
    store.close()
    with pytest.raises(RendezvousConnectionError, match="closed"):
        backend.get_state()


def test_keys_live_on_a_lease_that_is_replaced_when_it_has_ended():
    store = MemoryStore()
    lease = LongLease(store)
    assert lease.renewed() is lease.renewed()
    backend = StoreBackend(store, lease.renewed, key="/r/x", name="etcd", seal=Seal(None))
    backend.set_state(b"one")
    assert store.get("/r/x").lease == lease.renewed().id


def test_agents_find_each_others_keys_through_torchs_prefix():
    store = MemoryStore()
    agents = [make_agent_store(store) for _ in range(2)]
    one, two = (PrefixStore("round.0", each) for each in agents)
    one.set("addr", "host")
    assert two.get("addr") == b"host"
    assert two.check(["addr"])
    assert not two.check(["addr", "port"])
    assert two.multi_get(["addr", "addr"]) == [b"host", b"host"]
    two.multi_set(["a", "b"], ["1", "2"])
    assert one.get("b") == b"2"


def test_get_waits_for_another_agent():
    store = MemoryStore()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(make_agent_store(store).get, "late")
        make_agent_store(store).set("late", "here")
        assert pending.result(DEADLINE_S) == b"here"


def test_wait_ends_at_its_timeout_and_names_what_is_missing():
    agents = make_agent_store(MemoryStore())
    agents.set("there", "")
    with pytest.raises(DistStoreError, match=r"\['missing'\]"):
        agents.wait(["there", "missing"], timedelta(seconds=0.05))


def test_a_counter_loses_no_addition():
    store = MemoryStore()
    agents, each = 4, 25
    at_once = threading.Barrier(agents)

    def add(_: int) -> list[int]:
        mine = make_agent_store(store)
        at_once.wait(DEADLINE_S)
        return [mine.add("n", 2) for _ in range(each)]

    with ThreadPoolExecutor(agents) as pool:
        sums = [value for values in pool.map(add, range(agents)) for value in values]
    assert sorted(sums) == list(range(2, 2 * agents * each + 1, 2))
    assert make_agent_store(store).get("n") == b"%d" % (2 * agents * each)


def test_a_lost_store_is_torchs_store_error():
    store = MemoryStore()
    agents = make_agent_store(store, timeout_s=0.05)
    agents.set("a", "")
    store.close()
    for call in (
        lambda: agents.set("a", ""),
        lambda: agents.add("n", 1),
        lambda: agents.check(["a"]),
        lambda: agents.get("a"),
    ):
        with pytest.raises(DistStoreError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("given", "endpoints"),
    [
        ("host:2380", ("host:2380",)),
        ("host", ("host:2379",)),
        ("a:1, b:2", ("a:1", "b:2")),
        ("[::1]", ("[::1]:2379",)),
        ("[::1]:5", ("[::1]:5",)),
    ],
)
def test_endpoints_are_host_and_port(given, endpoints):
    assert parse_endpoints(given) == endpoints


@pytest.mark.parametrize(
    "given", ["", ",", ":2379", "http://host", "http://host:2379", "host:port", "host:99999", "::1"]
)
def test_another_endpoint_is_refused(given):
    with pytest.raises(ValueError, match=r"--rdzv-endpoint .*must be HOST:PORT"):
        parse_endpoints(given)


def parameters(**changes) -> RendezvousParameters:
    given = {"backend": "etcd", "endpoint": "127.0.0.1:1", "run_id": "x", "min_nodes": 1, "max_nodes": 1}
    return RendezvousParameters(**{**given, **changes})


def test_a_run_id_that_would_leave_its_folder_is_refused():
    with pytest.raises(ValueError, match="--rdzv-id"):
        open_backend(parameters(run_id="a/b"))


def test_a_timeout_that_is_no_time_is_refused():
    with pytest.raises(ValueError, match="read_timeout"):
        open_backend(parameters(read_timeout="0"))


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["etcd", "etcd-v3"])
def test_torch_finds_the_handler_under_both_names(etcd: EmbeddedEtcd, backend):
    name = uuid.uuid4().hex
    handler = get_rendezvous_handler(parameters(backend=backend, endpoint=etcd.endpoint, run_id=name))
    assert handler.get_backend() == backend
    assert not handler.is_closed()
    assert handler.shutdown()
    with EtcdStore((etcd.endpoint,), DEADLINE_S) as store:
        assert store.get(f"/curtail/rendezvous/{name}") is not None
    assert handler.is_closed()


@pytest.mark.integration
def test_a_name_that_an_earlier_start_has_had_is_refused_with_what_to_do(etcd: EmbeddedEtcd):
    given = parameters(endpoint=etcd.endpoint, run_id=uuid.uuid4().hex)
    assert get_rendezvous_handler(given).shutdown()
    with pytest.raises(RendezvousClosedError, match="give each start another --rdzv-id"):
        get_rendezvous_handler(given)


@pytest.mark.parametrize("first", ["curtail_dist.rendezvous", "curtail_dist.rendezvous.backend"])
def test_the_backend_registers_whichever_package_is_imported_first(first):
    code = (
        f"import sys, {first}\n"
        "from torch.distributed.elastic.rendezvous import rendezvous_handler_registry as registry\n"
        "import curtail_dist.rendezvous as ours\n"
        "table = vars(registry)['_registry']\n"
        "print(table['etcd'] is ours.create_handler, table['etcd-v3'] is ours.create_handler)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")


def test_importing_the_entry_point_imports_no_torch():
    code = "import sys, curtail_dist.rendezvous; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
