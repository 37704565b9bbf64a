"""Writing a commit: fenced by epoch and parent, exactly once, through lost answers and outages."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.coordination.memory import MemoryCluster, MemoryStore
from curtail_dist.errors import PeerLost, StoreUnavailable
from curtail_dist.membership.board import Board
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.presence import Registration
from curtail_dist.membership.records import Commit, Epoch, Member
from curtail_dist.outer.gloo import GroupStore
from curtail_dist.runtime.commits import commit, read_head
from curtail_dist.runtime.seat import Seat
from curtail_dist.telemetry.record import EventLog

KEYS = Keys("t")
HOST = "127.0.0.1"
HEAD = Commit(version=3, hash="h3", parent="h2", epoch=1, total_rows=10)
NEXT = Commit(version=4, hash="h4", parent="h3", epoch=1, total_rows=10, done=((0, 5),))


def nothing():
    """No snapshot to make durable."""


class Lossy(MemoryStore):
    """Loses the answers to its next `lost` transactions, which take effect; `meanwhile` comes before each."""

    lost = 0

    def __init__(self, cluster):
        super().__init__(cluster)
        self.meanwhile = nothing

    def transact(self, **given):
        self.meanwhile()
        result = super().transact(**given)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailable("the answer was lost; read before writing again")
        return result


class Town:
    """Seats of several sites on one store."""

    def __init__(self, folder):
        self.cluster = MemoryCluster()
        self.store = MemoryStore(self.cluster)
        self.stack = ExitStack()
        self._folder = folder
        self._meeting = GroupStore(HOST)
        self.store.put(KEYS.head, HEAD.encode())

    def member(self, site):
        return Member(
            site=site, incarnation=f"{site}1", host=HOST, group_port=self._meeting.port, state_port=1
        )

    def seats(self, *sites, **round):
        """Seat these sites in epoch 1."""
        epoch = Epoch(number=1, members=tuple(self.member(site) for site in sites), reason="joined")
        self.store.put(KEYS.epoch, epoch.encode())
        seats = [self._seat(site, round) for site in sites]
        with ThreadPoolExecutor(len(seats)) as pool:
            list(pool.map(lambda seat: seat.take(epoch), seats))
        return seats

    def _seat(self, site, round):
        store = Lossy(self.cluster)
        registration = Registration(store, KEYS, self.member(site), ttl=2.0)
        registration.start()
        self.stack.callback(registration.close)
        board = Board(store, KEYS, react=registration.react)
        board.start()
        self.stack.callback(board.close)
        power = {"train_w": 1.0, "idle_w": 1.0}
        config = RunConfig.from_mapping(
            {
                "run": {"name": "t", "directory": str(self._folder)},
                "data": {"manifest": "m"},
                "sites": {site: {"signal": {"kind": "constant", "value": 1.0}, "power": power}},
                "round": {"exchange_timeout_s": 20.0, **round},
            }
        )
        events = self.stack.enter_context(
            EventLog(self._folder, site=site, process="rank-1", clock=SystemClock())
        )
        seat = Seat(config=config, me=self.member(site), store=store, board=board, events=events)
        self.stack.callback(seat.vacate)
        return seat

    @property
    def head(self):
        return Commit.decode(self.store.get(KEYS.head).value)

    def writes_of_head(self, since):
        watch = self.store.watch(KEYS.head, revision=since + 1)
        return len(watch.next(0.2))

    @property
    def revision(self):
        return self.store.list(KEYS.root).revision


@pytest.fixture
def town(tmp_path):
    town = Town(tmp_path)
    with town.stack:
        yield town


def test_the_record_becomes_head_and_the_request_to_close_its_round_goes(town):
    (seat,) = town.seats("a")
    town.store.put(KEYS.close(1, 4), b"{}")
    commit(seat, NEXT, before=nothing)
    assert town.head == NEXT
    assert seat.board.head == NEXT
    assert town.store.get(KEYS.close(1, 4)) is None


def test_what_must_be_durable_is_so_before_the_record_stands(town):
    (seat,) = town.seats("a")
    seen = []
    commit(seat, NEXT, before=lambda: seen.append(town.head))
    assert seen == [HEAD]


def test_a_commit_that_stands_already_is_not_written_again(town):
    (seat,) = town.seats("a")
    commit(seat, NEXT, before=nothing)
    revision = town.revision
    commit(seat, NEXT, before=nothing)
    assert town.revision == revision


def test_a_stale_epoch_cannot_commit(town):
    (seat,) = town.seats("a")
    newer = Epoch(number=2, members=(town.member("b"),), reason="lost")
    town.store.put(KEYS.epoch, newer.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(seat, NEXT, before=nothing)
    assert town.head == HEAD


def test_an_epoch_that_changes_between_look_and_write_fences_the_commit_off(town):
    (seat,) = town.seats("a")
    newer = Epoch(number=2, members=(town.member("b"),), reason="lost")
    seat.store.meanwhile = lambda: town.store.put(KEYS.epoch, newer.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(seat, NEXT, before=nothing)
    assert town.head == HEAD


def test_a_commit_on_another_parent_is_fenced_off(town):
    (seat,) = town.seats("a")
    other = Commit(version=4, hash="other", parent="h3", epoch=1, total_rows=10)
    town.store.put(KEYS.head, other.encode())
    with pytest.raises(PeerLost, match="commit 4 is fenced off"):
        commit(seat, NEXT, before=nothing)
    assert town.head == other


def test_a_run_whose_keys_vanished_is_not_begun_anew_by_a_commit(town):
    (seat,) = town.seats("a")
    town.store.delete(KEYS.head)
    with pytest.raises(PeerLost, match="keys vanished from the store; recover the run"):
        commit(seat, NEXT, before=nothing)
    assert town.store.get(KEYS.head) is None


def test_a_commit_whose_answer_was_lost_is_found_standing_and_not_repeated(town):
    (seat,) = town.seats("a")
    revision = town.revision
    seat.store.lost = 1
    commit(seat, NEXT, before=nothing)
    assert town.head == NEXT
    assert town.writes_of_head(revision) == 1


def test_a_commit_waits_for_a_store_that_comes_back(town):
    (seat,) = town.seats("a")
    calls = []

    def before():
        calls.append(len(calls))
        if len(calls) == 1:
            raise StoreUnavailable("the store does not answer; start it")

    commit(seat, NEXT, before=before)
    assert town.head == NEXT
    assert calls == [0, 1]


def test_an_outage_longer_than_the_bound_ends_the_wait(town):
    (seat,) = town.seats("a", outage_s=0.01)

    def before():
        raise StoreUnavailable("the store does not answer; start it")

    with pytest.raises(StoreUnavailable):
        commit(seat, NEXT, before=before)
    assert town.head == HEAD


def test_members_who_commit_together_write_one_record(town):
    revision = town.revision
    seats = town.seats("a", "b", "c")
    with ThreadPoolExecutor(len(seats)) as pool:
        list(pool.map(lambda seat: commit(seat, NEXT, before=nothing), seats))
    assert town.head == NEXT
    assert town.writes_of_head(revision) == 1


def test_a_higher_rank_makes_nothing_durable_when_the_lowest_writes(town):
    low, high = town.seats("a", "b")
    made = []
    waiting = threading.Thread(target=lambda: commit(high, NEXT, before=lambda: made.append("b")))
    waiting.start()
    commit(low, NEXT, before=lambda: made.append("a"))
    waiting.join(20)
    assert not waiting.is_alive()
    assert made == ["a"]


def test_a_higher_rank_writes_the_record_when_the_lowest_is_gone(town):
    low, high = town.seats("a", "b")
    town.store.delete(KEYS.member("a"))
    assert high.board.wait(lambda: True if "a" not in high.board.present else None, timeout=20.0)
    commit(high, NEXT, before=nothing)
    assert town.head == NEXT
    assert low.board.wait(lambda: True if low.board.head == NEXT else None, timeout=20.0)


def test_head_is_read_from_the_store_and_not_from_what_was_seen_last(town):
    (seat,) = town.seats("a")
    town.store.put(KEYS.head, NEXT.encode())
    assert read_head(seat) == NEXT
    assert seat.board.head == NEXT
