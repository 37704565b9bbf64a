"""What every provisioner promises: the same facts on each kind.

A kind's own test file makes a `Subject` in a fixture named `subject` and takes the facts over:

    class TestOurKind(ProvisionContract):
        @pytest.fixture
        def subject(self, ...) -> Iterator[Subject]: ...

From another folder than this one, its conftest.py puts this folder on `sys.path` first.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import Provisioner, RanksState

VARIABLES = {"CURTAIL_DECIDED_AT": "12.5"}


@dataclass(kw_only=True)
class Subject:
    """A provisioner under test, and what a test does to its ranks from outside."""

    provisioner: Provisioner
    """Closed by who made it, after the test."""
    finish: Callable[[int], None]
    """Let the ranks that run end by themselves with this code."""
    starts: Callable[[], int]
    """How often ranks were really started."""
    refuse: Callable[[], None]
    """Have the next start fail."""
    said: Callable[[str], str | None]
    """What the newest ranks found in the environment under this name."""
    reopen: Callable[[], Provisioner] | None = None
    """Another provisioner of the same run and site, as after the first one's process was killed, which the
    test closes; None where ranks end with their owner."""
    told: int = 0
    """The code of ranks that were told to end (SIGTERM) and did; 0 where they leave in order."""
    wait_s: float = 20.0
    """Real time within which anything takes effect."""

    def eventually(
        self, holds: Callable[[RanksState], bool], provisioner: Provisioner | None = None
    ) -> RanksState:
        """Poll until it holds of what is known, and return that."""
        deadline = time.monotonic() + self.wait_s
        while True:
            state = None
            with suppress(ProvisionError):  # not known yet
                state = (provisioner or self.provisioner).poll()
            if state is not None and holds(state):
                return state
            assert time.monotonic() < deadline, f"in vain: {state}"
            time.sleep(0.01)

    def begin(self) -> RanksState:
        """Start ranks, and return the state once they have begun."""
        self.eventually(lambda state: not state.running)
        self.provisioner.start(VARIABLES)
        assert self.provisioner.poll().running
        return self.eventually(lambda state: state.running and not state.waiting and self.starts() > 0)


def ended(state: RanksState) -> bool:
    """Whether nothing runs (any more)."""
    return not state.running


class ProvisionContract:
    """The facts; collected where a test class takes them over."""

    def test_nothing_runs_and_nothing_has_ended_before_the_first_start(self, subject: Subject):
        state = subject.eventually(ended)
        assert (state.pid, state.code, state.ranks, state.reclaimed) == (None, None, (), "")
        assert subject.starts() == 0

    def test_a_second_start_starts_nothing(self, subject: Subject):
        before = subject.begin()
        assert before.code is None
        subject.provisioner.start(VARIABLES)
        after = subject.provisioner.poll()
        assert (after.running, after.pid) == (True, before.pid)
        assert subject.starts() == 1

    def test_ranks_find_the_variables_of_their_start(self, subject: Subject):
        subject.begin()
        for name, value in VARIABLES.items():
            assert subject.said(name) == value

    def test_ranks_that_end_in_order_leave_code_0(self, subject: Subject):
        subject.begin()
        subject.finish(0)
        state = subject.eventually(ended)
        assert (state.code, state.pid, state.ranks, state.failure) == (0, None, (), "")

    def test_ranks_that_fail_leave_another_code(self, subject: Subject):
        subject.begin()
        subject.finish(3)
        state = subject.eventually(ended)
        assert state.code not in (None, 0)
        assert not state.reclaimed

    def test_ranks_that_are_told_to_end_leave_their_code_and_are_told_twice_in_vain(self, subject: Subject):
        subject.begin()
        subject.provisioner.terminate()
        subject.provisioner.terminate()
        state = subject.eventually(ended)
        assert state.code == subject.told
        subject.provisioner.terminate()
        assert subject.provisioner.poll() == state

    def test_killed_ranks_are_gone_with_a_code_that_says_so(self, subject: Subject):
        subject.begin()
        subject.provisioner.kill()
        state = subject.eventually(ended)
        assert state.code not in (None, 0)
        subject.provisioner.kill()
        assert subject.provisioner.poll() == state

    @pytest.mark.parametrize("end", ["terminate", "kill", "close"])
    def test_ending_what_was_never_started_is_no_error(self, subject: Subject, end: str):
        getattr(subject.provisioner, end)()
        if end != "close":
            assert subject.eventually(ended).code is None

    def test_a_start_after_an_end_starts_again(self, subject: Subject):
        subject.begin()
        subject.finish(3)
        subject.eventually(ended)
        subject.provisioner.start(VARIABLES)
        state = subject.eventually(lambda state: state.running and subject.starts() == 2)
        assert (state.code, state.failure) == (None, "")

    def test_closing_ends_what_runs_and_closing_again_is_harmless(self, subject: Subject):
        subject.begin()
        subject.provisioner.close()
        subject.provisioner.close()
        if subject.reopen is not None:
            other = subject.reopen()
            try:
                subject.eventually(ended, other)
            finally:
                other.close()

    def test_every_thread_may_poll_while_ranks_start_and_end(self, subject: Subject):
        done = threading.Event()

        def poll() -> set[bool]:
            seen = set[bool]()
            while not done.is_set():
                seen.add(subject.provisioner.poll().running)
                done.wait(0.002)
            return seen

        subject.eventually(ended)
        with ThreadPoolExecutor(4) as pool:
            looks = [pool.submit(poll) for _ in range(4)]
            try:
                subject.begin()
                subject.finish(0)
                subject.eventually(ended)
            finally:
                done.set()
            assert all(look.result(subject.wait_s) <= {True, False} for look in looks)

    def test_a_start_that_fails_says_so(self, subject: Subject):
        subject.eventually(ended)
        subject.refuse()
        try:
            subject.provisioner.start(VARIABLES)
        except ProvisionError as error:
            said = str(error)
        else:
            state = subject.eventually(ended)
            assert state.code not in (None, 0)
            said = state.failure
        assert said
        assert subject.starts() == 0
        assert not subject.provisioner.poll().running

    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_what_outlives_its_owner_is_found_and_not_started_twice(self, subject: Subject, end: str):
        if subject.reopen is None:
            pytest.skip("its ranks end with their owner")
        before = subject.begin()
        found = subject.reopen()
        try:
            state = subject.eventually(lambda state: state.running, found)
            assert state.pid == before.pid
            found.start(VARIABLES)
            assert found.poll().running
            assert subject.starts() == 1
            getattr(found, end)()
            subject.eventually(ended, found)
        finally:
            found.close()
