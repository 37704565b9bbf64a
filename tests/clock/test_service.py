"""A clock service and its participants, each on a thread of its own."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from curtail_dist.clock import SystemClock, VirtualClock, open_clock
from curtail_dist.clock.service import ClockService
from curtail_dist.config import ClockConfig
from curtail_dist.errors import ConfigError, CoordinationError

WAIT_S = 10.0


@pytest.fixture
def service() -> Iterator[ClockService]:
    with ClockService() as running:
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.002)


def kill(clock: VirtualClock) -> None:
    """Break the connection without a farewell, as the death of its process does."""
    line = clock._own
    assert line is not None
    line.cut()
    line.close()


def test_two_participants_see_the_same_times(service, pool):
    seen: list[tuple[float, str]] = []

    def work(name: str, step_s: float, count: int) -> None:
        clock = clocks[name]
        for _ in range(count):
            clock.spend(step_s)
            seen.append((clock.now(), name))
        clock.close()

    clocks = {name: VirtualClock(service.endpoint, name) for name in ("a", "b")}
    for future in [pool.submit(work, "a", 2.0, 6), pool.submit(work, "b", 3.0, 4)]:
        future.result(WAIT_S)
    expected = [(2.0 * i, "a") for i in range(1, 7)] + [(3.0 * i, "b") for i in range(1, 5)]
    assert sorted(seen) == sorted(expected)
    assert [moment for moment, _ in seen] == sorted(moment for moment, _ in seen)
    assert service.now() == 12.0


def test_nobody_passes_a_busy_participant(service, pool):
    busy = VirtualClock(service.endpoint, "busy")
    other = VirtualClock(service.endpoint, "other")
    future = pool.submit(other.spend, 5.0)
    eventually(lambda: other._standing is None)
    assert busy.now() == 0.0
    busy.spend(1.0)
    assert busy.now() == 1.0
    assert not future.done()
    busy.close()
    future.result(WAIT_S)
    assert other.now() == 5.0
    other.close()


def test_a_reservation_holds_the_others_until_the_newcomer_has_come(service, pool):
    agent = VirtualClock(service.endpoint, "agent:x", "poll")
    agent.reserve("rank:x", 90.0)
    polls = [pool.submit(agent.sleep, 60.0)]
    polls[0].result(WAIT_S)
    late = pool.submit(agent.sleep, 60.0)
    eventually(lambda: service.now() == 90.0)
    assert not late.done()
    rank = VirtualClock(service.endpoint, "rank:x")
    rank.arrive()
    assert rank.now() == 90.0
    rank.spend(30.0)
    late.result(WAIT_S)
    assert agent.now() == 120.0
    rank.close()
    agent.close()


def test_a_killed_rank_is_expected_back_and_its_agent_sees_no_later_time(service, pool):
    agent = VirtualClock(service.endpoint, "agent:x", "poll")
    agent.reserve("rank:x", 30.0)
    rank = VirtualClock(service.endpoint, "rank:x")
    arrived = pool.submit(rank.arrive)
    first = pool.submit(agent.sleep, 60.0)
    arrived.result(WAIT_S)
    kill(rank)
    eventually(lambda: service.now() == 60.0)
    first.result(WAIT_S)
    second = pool.submit(agent.sleep, 60.0)
    restarted = VirtualClock(service.endpoint, "rank:x")
    restarted.arrive()
    assert restarted.now() == 60.0
    assert not second.done()
    restarted.close()
    second.result(WAIT_S)
    agent.close()


def test_an_agent_that_keeps_its_ranks_place_sees_the_moment_of_their_leave(service, pool):
    agent = VirtualClock(service.endpoint, "agent:x", "poll")
    other = VirtualClock(service.endpoint, "agent:y", "poll")
    rank = VirtualClock(service.endpoint, "rank:x")
    agent.reserve("rank:x", 0.0)
    poll = pool.submit(other.sleep, 600.0)
    with agent.waiting():
        rank.spend(7.0)
        rank.close()
        assert agent.now() == 7.0
    assert not poll.done()
    agent.release("rank:x")
    agent.close()
    poll.result(WAIT_S)
    other.close()


def test_waiting_lets_time_move_and_other_threads_may_ask_for_it(service, pool):
    a = VirtualClock(service.endpoint, "a")
    b = VirtualClock(service.endpoint, "b")
    with a.waiting():
        b.spend(4.0)
        assert pool.submit(a.now).result(WAIT_S) == 4.0
    assert a.now() == 4.0
    a.close()
    b.close()


def test_a_newer_participant_of_the_same_name_replaces_the_older(service):
    old = VirtualClock(service.endpoint, "rank:x")
    new = VirtualClock(service.endpoint, "rank:x")
    new.spend(3.0)
    assert new.now() == 3.0
    with pytest.raises(CoordinationError):
        old.spend(1.0)
    new.close()


def test_a_lost_service_is_named_in_the_error(service, pool):
    clock = VirtualClock(service.endpoint, "a")
    holder = VirtualClock(service.endpoint, "b")
    blocked = pool.submit(clock.spend, 1.0)
    eventually(lambda: clock._standing is None)
    service.stop()
    with pytest.raises(CoordinationError, match=service.endpoint):
        blocked.result(WAIT_S)
    with pytest.raises(CoordinationError, match="start the run again"):
        holder.spend(1.0)
    clock.close()
    holder.close()


def test_no_service_at_all_is_a_coordination_error(service):
    service.stop()
    with pytest.raises(CoordinationError, match="does not answer"):
        VirtualClock(service.endpoint, "a")


def test_a_closed_clock_refuses_and_closing_again_is_harmless(service):
    clock = VirtualClock(service.endpoint, "a")
    clock.close()
    clock.close()
    with pytest.raises(CoordinationError, match="has left"):
        clock.spend(1.0)


def test_closing_from_another_thread_ends_a_blocked_call(service, pool):
    holder = VirtualClock(service.endpoint, "holder")
    clock = VirtualClock(service.endpoint, "a", "poll")
    blocked = pool.submit(clock.sleep, 1.0)
    eventually(lambda: clock._standing is None)
    clock.close()
    with pytest.raises(CoordinationError):
        blocked.result(WAIT_S)
    holder.close()


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"{}\n",
        b"[1]\n",
        b'{"id": 1, "op": "fly"}\n',
        b'{"id": 1, "op": "claim", "for": 1}\n',
    ],
)
def test_a_stranger_is_shown_out_and_the_clock_goes_on(service, line):
    host, _, port = service.endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as stranger:
        stranger.sendall(line)
        with stranger.makefile("rb") as answers:
            assert "error" in json.loads(answers.readline())
            assert answers.readline() == b""
    clock = VirtualClock(service.endpoint, "a")
    clock.spend(1.0)
    assert clock.now() == 1.0
    clock.close()


class _Rang(Exception):
    pass


def test_a_signal_handler_that_raises_ends_a_sleep_and_the_clock_is_usable_after(service):
    holder = VirtualClock(service.endpoint, "holder")
    clock = VirtualClock(service.endpoint, "agent", "poll")

    def ring(*_: object) -> None:
        raise _Rang

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        started = time.monotonic()
        with pytest.raises(_Rang):
            clock.sleep(60.0)
        assert time.monotonic() - started < 1.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # Until the service has seen the broken line go, the interrupted claim stands and would be granted.
    eventually(lambda: len(service._connections) == 1)
    holder.close()
    clock.sleep(60.0)
    assert clock.now() == 60.0
    clock.close()


def test_stopping_joins_every_thread():
    service = ClockService()
    clock = VirtualClock(service.endpoint, "a")
    service.stop()
    service.stop()
    clock.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("clock-")]


def test_the_run_file_chooses_between_real_and_virtual_time(service):
    assert isinstance(open_clock(ClockConfig(), start=None), SystemClock)
    config = ClockConfig(kind="virtual", endpoint=service.endpoint)
    with pytest.raises(ConfigError, match="participant"):
        open_clock(config, start=None)
    clock = open_clock(config, start=None, participant="agent:x", kind="poll")
    clock.sleep(9.0)
    assert clock.now() == 9.0
    clock.close()
