"""Nodes of a rendezvous whose heartbeats an outage of the store has kept away."""

import pickle
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from test_backend import DEADLINE_S
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.rendezvous.backend import open_backend
from curtail_dist.rendezvous.heartbeats import Heartbeats

DEAD_S = 2
"""Without a heartbeat for this long torch takes a node for dead."""
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def ages(heartbeats: Heartbeats, hand: Hand, **beats: datetime) -> dict[str, float]:
    """Return for how long each node seems silent to torch."""
    state = pickle.dumps(SimpleNamespace(last_heartbeats=beats))
    seen = pickle.loads(heartbeats.excused(state)).last_heartbeats
    return {node: (hand.now - beat).total_seconds() for node, beat in seen.items()}


def test_while_the_store_is_away_nobody_grows_more_silent():
    heartbeats = Heartbeats(hand := Hand())
    heartbeats.answered()
    hand.pass_(100)
    heartbeats.missed()
    assert ages(heartbeats, hand, a=NOON - timedelta(seconds=3), b=NOON) == {"a": 3.0, "b": 0.0}


def test_afterwards_silence_counts_again():
    heartbeats = Heartbeats(hand := Hand())
    heartbeats.answered()
    hand.pass_(100)
    heartbeats.missed()
    heartbeats.answered()
    hand.pass_(7)
    late = NOON + timedelta(seconds=104)
    assert ages(heartbeats, hand, a=NOON - timedelta(seconds=3), late=late) == {"a": 10.0, "late": 3.0}


def test_two_outages_are_both_excused():
    heartbeats = Heartbeats(hand := Hand())
    heartbeats.answered()
    for _ in range(2):
        hand.pass_(100)
        heartbeats.missed()
        hand.pass_(10)
        heartbeats.answered()
        hand.pass_(1)
        heartbeats.answered()
    assert ages(heartbeats, hand, a=NOON) == {"a": 2.0}


def test_without_an_outage_torchs_bytes_are_as_they_were():
    heartbeats = Heartbeats()
    heartbeats.answered()
    assert heartbeats.excused(b"no pickle") == b"no pickle"


def parameters(endpoint: str, run_id: str) -> RendezvousParameters:
    return RendezvousParameters(
        backend="etcd-v3",
        endpoint=endpoint,
        run_id=run_id,
        min_nodes=1,
        max_nodes=3,
        local_addr="127.0.0.1",
        join_timeout="20",
        last_call_timeout="2",
        keep_alive_interval="1",
        keep_alive_max_attempt=str(DEAD_S),
    )


def take_seat(node: RendezvousHandler) -> RendezvousInfo:
    return node.next_rendezvous()


@pytest.mark.integration
@pytest.mark.fault
def test_nodes_of_a_job_are_no_dead_nodes_because_etcd_was_away():
    with EmbeddedEtcd(election_timeout_ms=200) as etcd, ThreadPoolExecutor(3) as pool:
        given = parameters(etcd.endpoint, uuid.uuid4().hex)
        state, _ = open_backend(given)
        nodes = [get_rendezvous_handler(given) for _ in range(2)]
        seats = list(pool.map(take_seat, nodes))
        assert {seat.world_size for seat in seats} == {2}

        def beats() -> list[datetime]:
            found = state.get_state()
            assert found is not None, "etcd has been asked before"
            return list(pickle.loads(found[0]).last_heartbeats.values())

        def until(holds) -> None:
            deadline = time.monotonic() + DEADLINE_S
            while not holds():
                for node in nodes:  # as torchrun asks all the time
                    node.num_nodes_waiting()
                assert time.monotonic() < deadline, "in vain"

        newest = max(beats())
        etcd.kill()
        until(lambda: datetime.now(UTC) - newest > timedelta(seconds=2 * DEAD_S))
        etcd.restart()
        until(lambda: min(beats()) > newest + timedelta(seconds=2 * DEAD_S))

        # One that comes now finds a job that has formed, instead of one whose nodes are all dead.
        late = pool.submit(take_seat, get_rendezvous_handler(given))
        until(lambda: nodes[0].num_nodes_waiting() == 1)
        again = list(pool.map(take_seat, nodes))
        assert {seat.world_size for seat in (*again, late.result(DEADLINE_S))} == {3}
        for node in nodes:
            node.shutdown()
