"""With the run's secret, a node unpickles nothing of a stranger's, nor what was meant for another key."""

import pickle

import pytest
from torch.distributed import DistStoreError
from torch.distributed.elastic.rendezvous import RendezvousParameters, RendezvousStateError
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

from curtail_dist.coordination import MemoryStore
from curtail_dist.rendezvous.agent_store import AgentStore
from curtail_dist.rendezvous.backend import LongLease, StoreBackend
from curtail_dist.rendezvous.seal import Seal, SealBroken
from curtail_dist.security.secret import RunSecret

OURS, THEIRS = RunSecret(b"o" * 32), RunSecret(b"t" * 32)
DEADLINE_S = 5.0


SPRUNG: list[str] = []


def spring() -> None:
    SPRUNG.append("sprung")


class Trap:
    """Something whose pickle runs code where it is opened."""

    def __reduce__(self):
        return (spring, ())


def backend_of(store: MemoryStore, secret: RunSecret | None, key: str = "/r/x") -> StoreBackend:
    return StoreBackend(store, LongLease(store).renewed, key=key, name="etcd", seal=Seal(secret))


def agents_of(store: MemoryStore, secret: RunSecret | None) -> AgentStore:
    return AgentStore(store, LongLease(store).renewed, prefix="/r/x/keys/", seal=Seal(secret))


def handler_of(store: MemoryStore, secret: RunSecret | None):
    given = RendezvousParameters(backend="etcd", endpoint="e", run_id="x", min_nodes=1, max_nodes=2)
    return create_handler(agents_of(store, secret), backend_of(store, secret), given)


def test_nodes_with_the_same_secret_read_each_other():
    store = MemoryStore()
    state, token, written = backend_of(store, OURS).set_state(b"state")
    assert (state, written) == (b"state", True)
    assert backend_of(store, RunSecret(b"o" * 32)).get_state() == (b"state", token)
    handlers = [handler_of(store := MemoryStore(), OURS), handler_of(store, OURS)]
    handlers[0].set_closed()
    assert handlers[1].is_closed()


def test_what_is_stored_is_a_mark_a_code_and_torchs_bytes():
    store = MemoryStore()
    backend_of(store, OURS).set_state(b"state")
    stored = store.get("/r/x").value
    assert stored.startswith(b"curtail-sealed-1\n")
    assert stored.endswith(b"state")
    assert len(stored) == len(b"curtail-sealed-1\n") + 32 + len(b"state")


@pytest.mark.parametrize("secret", [THEIRS, None], ids=["another secret", "no secret"])
def test_a_strangers_state_is_never_unpickled(secret):
    store = MemoryStore()
    SPRUNG.clear()
    backend_of(store, secret).set_state(pickle.dumps(Trap()))
    with pytest.raises(RendezvousStateError, match=r"not written with this run's secret and is not read"):
        handler_of(store, OURS).is_closed()
    assert SPRUNG == []
    # The trap does spring where there is no seal: as with every backend of torch.
    if secret is None:
        with pytest.raises(AttributeError):
            handler_of(store, None).is_closed()
        assert SPRUNG == ["sprung"]


def test_a_failed_write_does_not_bring_a_strangers_state_in():
    store = MemoryStore()
    ours, theirs = backend_of(store, OURS), backend_of(store, None)
    _, token, _ = ours.set_state(b"state")
    theirs.set_state(b"evil", token)
    with pytest.raises(RendezvousStateError):
        ours.set_state(b"next", token)


def test_a_state_cannot_be_taken_to_another_rendezvous():
    store = MemoryStore()
    backend_of(store, OURS).set_state(b"state")
    store.put("/r/y", store.get("/r/x").value)
    with pytest.raises(RendezvousStateError, match="/r/y was not written"):
        backend_of(store, OURS, "/r/y").get_state()


def test_every_changed_or_missing_byte_is_noticed():
    seal = Seal(OURS)
    whole = seal.wrap("k", b"value")
    assert seal.unwrap("k", whole) == b"value"
    changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for stored in (*changed, *(whole[:size] for size in range(len(whole))), whole + b"x"):
        with pytest.raises(SealBroken):
            seal.unwrap("k", stored)


def test_a_key_and_its_value_cannot_be_cut_elsewhere():
    seal = Seal(OURS)
    stored = seal.wrap("ab", b"c")
    with pytest.raises(SealBroken):
        seal.unwrap("a", stored[:-1] + b"bc")


def test_a_node_without_the_secret_is_told_so_and_reads_nothing():
    store = MemoryStore()
    backend_of(store, OURS).set_state(b"state")
    with pytest.raises(RendezvousStateError, match="this one has none; give --rdzv-conf secret_file=FILE"):
        backend_of(store, None).get_state()


def test_agents_addresses_and_counters_are_sealed_too():
    store = MemoryStore()
    ours = agents_of(store, OURS)
    ours.set("addr", "host")
    assert (ours.add("n", 1), ours.add("n", 2)) == (1, 3)
    assert (ours.get("addr"), ours.get("n")) == (b"host", b"3")
    store.put("/r/x/keys/addr", b"evil")
    store.put("/r/x/keys/n", b"100")
    for call in (lambda: ours.get("addr"), lambda: ours.wait(["addr"]), lambda: ours.add("n", 1)):
        with pytest.raises(DistStoreError, match="not written with this run's secret"):
            call()


def test_the_secret_is_in_no_message():
    with pytest.raises(SealBroken) as raised:
        Seal(OURS).unwrap("k", b"value")
    assert "ooo" not in str(raised.value)
    assert OURS.derive("rendezvous").hex() not in str(raised.value)
