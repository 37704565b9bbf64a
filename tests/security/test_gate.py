"""Strangers at a gate: how many, for how long, and what they cost the members."""

import logging
import socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from curtail_dist.security import PlainWire, gate, refusals
from curtail_dist.security.gate import STRANGERS, Gate
from curtail_dist.security.refusals import Refusals

TIMEOUT_S = 10.0
WORD = b"friend"


def hear(connection, within):
    connection.settimeout(within)
    said = connection.recv(len(WORD))
    if said != WORD:
        raise ValueError("that is not the word")
    return said


def serve(connection, said):
    connection.settimeout(TIMEOUT_S)
    while data := connection.recv(100):
        connection.sendall(data)
    del said


@contextmanager
def a_gate(places=8, host="127.0.0.1"):
    one = Gate(host=host, wire=PlainWire(), hear=hear, serve=serve, places=places, name="test-gate")
    try:
        yield one
    finally:
        one.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-gate")]


def connect(one, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", one.port), TIMEOUT_S, source_address=(source, 0))


def is_served(connection):
    connection.sendall(WORD + b"echo")
    return connection.recv(4) == b"echo"


def ended(connection):
    """Whether the other side has ended the connection; waits for it."""
    try:
        return not connection.recv(1)
    except ConnectionError:
        return True


def is_open(connection):
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True


def test_who_says_the_word_is_served_and_who_says_another_is_not():
    with a_gate() as one, connect(one) as friend, connect(one) as stranger:
        assert is_served(friend)
        stranger.sendall(b"fiends")
        assert ended(stranger)
        friend.sendall(b"more")
        assert friend.recv(4) == b"more"


def test_who_says_nothing_is_turned_out_in_time(monkeypatch):
    monkeypatch.setattr(gate, "PROOF_S", 0.2)
    with a_gate() as one, connect(one) as silent, connect(one) as slow:
        slow.sendall(WORD[:2])
        assert ended(silent)
        assert ended(slow)


def test_the_word_in_time_is_enough_however_long_one_stays(monkeypatch):
    monkeypatch.setattr(gate, "PROOF_S", 0.2)
    with a_gate() as one, connect(one) as friend, connect(one) as silent:
        assert is_served(friend)
        assert ended(silent), "as long as a stranger may stay has passed"
        friend.sendall(b"more")
        assert friend.recv(4) == b"more"


def test_the_oldest_stranger_goes_when_another_comes():
    with a_gate() as one, ExitStack() as stack:
        crowd = [stack.enter_context(connect(one)) for _ in range(STRANGERS)]
        assert is_served(stack.enter_context(connect(one)))
        crowd[0].settimeout(gate.PROOF_S / 2)
        assert ended(crowd[0])
        assert all(is_open(stranger) for stranger in crowd[1:])


def test_a_crowd_from_one_address_does_not_push_out_who_comes_from_another():
    with a_gate() as one, ExitStack() as stack:
        early = stack.enter_context(connect(one, source="127.0.0.2"))
        for _ in range(3 * STRANGERS):
            stack.enter_context(connect(one))
        assert is_served(stack.enter_context(connect(one))), "and so all before it were let in"
        assert is_served(early), "the oldest of all, and not of the many"


def test_a_member_is_served_while_hundreds_stay_silent():
    with a_gate() as one, ExitStack() as stack:
        member = stack.enter_context(connect(one))
        assert is_served(member)
        for _ in range(300):
            stack.enter_context(connect(one))
        assert is_served(stack.enter_context(connect(one))), "and so all before it were let in"
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("test-gate-")]
        assert len(threads) <= STRANGERS + 4
        member.sendall(b"more")
        assert member.recv(4) == b"more"


def test_more_members_than_there_are_places_are_turned_away_and_others_stay():
    with a_gate(places=2) as one, ExitStack() as stack:
        members = [stack.enter_context(connect(one)) for _ in range(2)]
        assert all(is_served(member) for member in members)
        third = stack.enter_context(connect(one))
        third.sendall(WORD)
        assert ended(third)
        assert is_open(members[0])
        members[0].close()
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                if is_served(stack.enter_context(connect(one))):
                    break
            except ConnectionError:
                pass  # the place is not free yet
            assert time.monotonic() < deadline


def test_closing_ends_members_strangers_and_threads_at_once():
    began = time.monotonic()
    with ExitStack() as stack:
        with a_gate() as one:
            member, stranger = stack.enter_context(connect(one)), stack.enter_context(connect(one))
            assert is_served(member)
            one.close()
            one.close()
        assert ended(member)
        assert ended(stranger)
    assert time.monotonic() - began < 3


def test_what_serving_raises_ends_that_connection_alone():
    with a_gate() as one, connect(one) as broken, connect(one) as friend:
        assert is_served(broken)
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        broken.close()  # with a reset
        assert is_served(friend)


def test_refused_strangers_are_told_of_once_and_then_by_their_number(caplog, monkeypatch):
    monkeypatch.setattr(refusals, "EVERY_S", 3600.0)
    with caplog.at_level(logging.WARNING):
        with a_gate() as one:
            for _ in range(50):
                with connect(one) as stranger:
                    stranger.sendall(b"stranger")
                    assert ended(stranger)
        assert len(caplog.messages) == 2
    first, last = caplog.messages
    assert first.endswith("was refused: that is not the word")
    assert "127.0.0.1" in first
    assert "49 more" in last


def test_a_line_comes_again_when_its_time_has_passed(caplog, monkeypatch):
    told = Refusals("x")
    with caplog.at_level(logging.WARNING):
        told.note("a", "one")
        told.note("b", "two")
        later = time.monotonic() + refusals.EVERY_S
        monkeypatch.setattr(time, "monotonic", lambda: later)
        told.note("c", "three")
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "a connection from a was refused: one",
        "a connection from c was refused: three; 1 others since the last such line",
    ]


def test_who_only_asks_whether_anybody_listens_is_no_stranger(caplog):
    with caplog.at_level(logging.WARNING), a_gate() as one:
        connect(one).close()
        with connect(one) as friend:
            assert is_served(friend)
    assert not caplog.messages


def test_without_a_thread_for_it_a_connection_is_refused_and_the_gate_stands(monkeypatch):
    with a_gate() as one:
        real = threading.Thread.start

        def start(self):
            if self.name.startswith("test-gate-"):
                raise RuntimeError("can't start new thread")
            real(self)

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with connect(one) as unlucky:
                assert ended(unlucky)
        with connect(one) as friend:
            assert is_served(friend)


@pytest.mark.parametrize("places", [1, 8])
def test_a_flood_leaves_no_descriptor_behind(places):
    from os import listdir

    with a_gate(places=places) as one:
        with connect(one) as friend:
            assert is_served(friend)
        before = None
        for number in range(400):
            with connect(one) as stranger:
                stranger.sendall(b"stranger")
                if number % 3:
                    ended(stranger)
            if number == 100:
                before = len(listdir("/proc/self/fd"))  # noqa: PTH208 - a directory of the kernel
        deadline = time.monotonic() + TIMEOUT_S
        while len(listdir("/proc/self/fd")) > before + 4:  # noqa: PTH208
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
def test_a_gate_listens_at_an_address_of_ipv6():
    with a_gate(host="::1") as one, socket.create_connection(("::1", one.port), TIMEOUT_S) as connection:
        assert is_served(connection)
