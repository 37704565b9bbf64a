"""Several agents in one process: each is what it would be alone, and signals reach them all."""

import os
import signal
import threading

import pytest
from hand import WAIT_S, eventually

from curtail_dist.errors import CurtailError, UserError
from curtail_dist.membership.agent.crew import Crew, worst


class Played:
    """An agent that ends when it is told to, and counts how often it was."""

    def __init__(self) -> None:
        self.told = 0
        self.over = threading.Event()

    def interrupt(self) -> None:
        self.told += 1


def complain(site: str, error: Exception) -> int:
    return 2 if isinstance(error, UserError) else 1


def test_a_signal_reaches_every_agent_and_so_does_the_second():
    agents = {"texas": Played(), "ohio": Played()}

    def run(site, ready):
        ready(agents[site])
        eventually(lambda: agents[site].told == 2)
        return 130

    def ring() -> None:
        for told in (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
            eventually(lambda told=told: all(one.told == told for one in agents.values()))

    before = signal.getsignal(signal.SIGTERM)
    crew = Crew(["texas", "ohio"], run, tell=complain)
    thread = threading.Thread(target=lambda: (eventually(lambda: len(crew._agents) == 2), ring()))
    thread.start()
    assert crew.run() == {"texas": 130, "ohio": 130}
    thread.join(WAIT_S)
    assert signal.getsignal(signal.SIGTERM) is before
    assert not [one for one in threading.enumerate() if one.name.startswith(("agent-", "signals"))]


def test_an_agent_that_comes_after_the_signal_is_told_all_the_same():
    late = Played()

    def run(site, ready):
        if site == "ohio":
            crew.interrupt()
            return 130
        eventually(lambda: crew._told == 1)
        ready(late)
        return 130

    crew = Crew(["texas", "ohio"], run, tell=complain)
    crew.run()
    assert late.told == 1


@pytest.mark.parametrize(
    ("error", "code"), [(CurtailError("no"), 1), (UserError("wrong"), 2), (ZeroDivisionError("bug"), 1)]
)
def test_an_agent_that_fails_ends_alone_and_is_told(error, code):
    done = threading.Event()
    told = []

    def run(site, ready):
        if site == "texas":
            raise error
        assert done.wait(WAIT_S)
        return 0

    def tell(site, error):
        told.append((site, error))
        done.set()
        return complain(site, error)

    assert Crew(["texas", "ohio"], run, tell=tell).run() == {"texas": code, "ohio": 0}
    assert told == [("texas", error)]


@pytest.mark.parametrize(
    ("codes", "code"),
    [([0, 0], 0), ([0, 130], 130), ([1, 130], 1), ([2, 1, 0], 2), ([], 0)],
)
def test_the_worst_exit_code_is_a_failure_before_an_interruption(codes, code):
    assert worst({str(site): one for site, one in enumerate(codes)}) == code
