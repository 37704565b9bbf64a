"""A tether says when a member's process has ended, and nothing else."""

import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from time import monotonic

import pytest

from curtail_dist.membership.records import Member
from curtail_dist.runtime.tether import Tethers
from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer

WAIT_S = 10.0
SERVE = """
from curtail_dist.security import PlainWire
from curtail_dist.state.transfer import StateServer
print(StateServer(run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None).port, flush=True)
input()
"""


def member(site, port):
    return Member(site=site, incarnation=site, host="127.0.0.1", group_port=1, state_port=port)


@pytest.fixture
def tether():
    with ExitStack() as stack:
        yield lambda *members, run="r": stack.enter_context(
            closing(Tethers(members, run=run, wire=PlainWire()))
        )


def breaks(tethers, one):
    deadline = monotonic() + WAIT_S
    while not tethers.broken(one):
        if monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_it_breaks_when_the_process_ends(tether, ending):
    command = [sys.executable, "-c", SERVE]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process,
        StateServer(run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None) as here,
    ):
        there = member("b", int(process.stdout.readline()))
        stays = member("c", here.port)
        tethers = tether(there, stays)
        process.send_signal(signal.SIGSTOP)
        assert not tethers.broken(there), "a process that hangs has not ended"
        process.send_signal(signal.SIGCONT)
        process.send_signal(ending)
        assert breaks(tethers, there)
        assert not tethers.broken(stays)


def test_who_does_not_answer_for_the_run_is_not_watched(tether):
    with (
        StateServer(run="other", host="127.0.0.1", wire=PlainWire(), current=lambda: None) as other,
        socket.create_server(("127.0.0.1", 0)) as gone,
    ):
        odd, nobody = member("b", other.port), member("c", gone.getsockname()[1])
        gone.close()
        tethers = tether(odd, nobody)
    assert not tethers.broken(odd)
    assert not tethers.broken(nobody)


def test_a_server_that_closes_lets_go_of_its_tethers(tether):
    with StateServer(run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None) as server:
        one = member("b", server.port)
        tethers = tether(one)
        assert not tethers.broken(one)
    assert breaks(tethers, one)


def test_a_closed_tether_says_nothing(tether):
    with StateServer(run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: None) as server:
        one = member("b", server.port)
        tethers = tether(one)
        tethers.close()
        assert not tethers.broken(one)
