"""Sitting out what does not answer: how long, and what is not sat out."""

import pytest

from curtail_dist.errors import PeerLost, StoreUnavailable
from curtail_dist.membership import effects as do
from curtail_dist.membership.effects import ask
from curtail_dist.membership.patience import RETRY_S, patiently

AWAY = StoreUnavailable("the store does not answer; start it")
FULL = OSError("no space left on device")


@pytest.fixture
def a(town):
    return town.party("a", present=False, outage_s=10.0)


def failing(party, *errors):
    """An attempt that fails in these ways before it goes well."""
    left = list(errors)

    def attempt():
        yield from ask(do.Wake())
        if left:
            raise left.pop(0)
        return "done"

    return party.run(patiently(party.part, attempt, "the test"))


def test_what_goes_well_is_done_once(a):
    assert failing(a) == "done"
    assert (a.count(do.Wake), a.count(do.Pause)) == (1, 0)


def test_store_and_disk_are_tried_again_after_a_pause_each(a):
    assert failing(a, AWAY, FULL, AWAY) == "done"
    assert (a.count(do.Wake), a.count(do.Pause)) == (4, 3)
    assert a.passed_s == 3 * RETRY_S


def test_what_is_no_silence_is_raised_at_once(a):
    with pytest.raises(PeerLost):
        failing(a, AWAY, PeerLost("the epoch moved on"))
    assert a.count(do.Wake) == 2


@pytest.mark.parametrize("error", [AWAY, FULL])
def test_the_wait_ends_at_the_bound_with_what_was_wrong_last(a, error):
    began = a.now()
    with pytest.raises(type(error), match=str(error)):
        failing(a, *[error] * 1000)
    assert 10.0 <= a.now() - began < 11.0


def said(caplog):
    return [record.getMessage() for record in caplog.records if " waits: " in record.getMessage()]


def test_a_wait_is_told_when_it_begins_and_each_minute_after(town, caplog):
    patient = town.party("b", present=False, outage_s=600.0)
    assert failing(patient, *[FULL] * round(150.0 / RETRY_S)) == "done"
    assert said(caplog) == ["site b: the test waits: no space left on device"] * 3


def test_a_wait_for_something_else_is_told_anew(a, caplog):
    assert failing(a, AWAY, AWAY, FULL, FULL) == "done"
    assert said(caplog) == [f"site a: the test waits: {error}" for error in (AWAY, FULL)]


def stale(party, seconds):
    """Let the store have been silent for so long, as other calls of this process have found."""
    view = party.board.view()
    party.answers[do.Look] = lambda _: type(view)(keys=view.keys, entries=view.entries, stale_s=seconds)


def test_the_silence_that_other_calls_met_counts(a):
    stale(a, 1000.0)
    with pytest.raises(StoreUnavailable):
        failing(a, *[AWAY] * 1000)
    assert a.count(do.Wake) == 2


def test_one_failure_alone_is_never_the_end(a):
    """After a process stood still its first call may meet a connection that is closed long since."""
    stale(a, 1000.0)
    assert failing(a, AWAY) == "done"
