"""Which order stands, and what is known of ranks elsewhere, from looks and failures alone."""

from dataclasses import replace

import pytest

from curtail_dist.membership.provision.place import Seen
from curtail_dist.membership.provision.standing import RanksStanding

NOTHING = Seen(there=False, reclaimed="gone")
RUNS = Seen(there=True, ranks=(7,))


@pytest.fixture
def standing() -> RanksStanding:
    return RanksStanding(lingers=False, told_code=143, accept_s=10.0, stuck_s=30.0)


def begun(standing: RanksStanding) -> RanksStanding:
    standing.saw(None, NOTHING, 0.0)
    standing.start({}, 0.0)
    standing.saw(standing.order, RUNS, 1.0)
    assert standing.state.ranks == (7,)
    assert standing.order is None
    return standing


def test_what_was_seen_before_a_newer_order_does_not_count(standing):
    standing.saw(None, NOTHING, 0.0)
    standing.start({}, 0.0)
    assert not standing.saw(None, NOTHING, 1.0)
    assert standing.state.running
    assert standing.order.kind == "begin"


def test_a_look_at_nothing_is_not_the_end_of_a_start_that_is_under_way(standing):
    standing.saw(None, NOTHING, 0.0)
    standing.start({}, 0.0)
    standing.order.given = True
    standing.saw(standing.order, NOTHING, 9.0)
    assert standing.state.waiting == "it was asked for, and nothing is there yet"
    standing.saw(standing.order, NOTHING, 11.0)
    assert standing.state.failure.startswith("nothing has begun in 10 s")
    assert standing.order.kind == "end"


@pytest.mark.parametrize(("kind", "code"), [("end", 143), ("kill", 137)])
def test_ranks_that_were_told_and_are_gone_have_the_code_of_that(standing, kind, code):
    begun(standing).tell(kind, 2.0)
    standing.saw(standing.order, NOTHING, 3.0)
    assert (standing.state.code, standing.state.reclaimed) == (code, "")
    assert standing.at_rest


def test_a_code_that_was_seen_comes_before_one_that_is_guessed(standing):
    begun(standing).tell("end", 2.0)
    standing.saw(standing.order, Seen(there=True, code=0), 3.0)
    assert standing.state.code == 0
    assert standing.order.kind == "end"
    standing.saw(standing.order, NOTHING, 4.0)
    assert standing.state.code == 0
    assert standing.at_rest


def test_ranks_that_never_began_end_in_order_when_they_are_told(standing):
    standing.saw(None, NOTHING, 0.0)
    standing.start({}, 0.0)
    standing.tell("end", 1.0)
    standing.saw(standing.order, NOTHING, 2.0)
    assert standing.state.code == 0


def test_what_nobody_told_to_end_and_is_gone_was_reclaimed(standing):
    begun(standing).saw(None, NOTHING, 2.0)
    assert (standing.state.code, standing.state.reclaimed) == (0, "gone")


def test_a_failure_is_not_reclaimed(standing):
    begun(standing).saw(None, replace(RUNS, code=3, reclaimed="time limit"), 2.0)
    assert (standing.state.code, standing.state.reclaimed) == (3, "")


def test_a_harder_order_takes_the_place_of_a_softer_one_and_not_the_other_way(standing):
    begun(standing).tell("end", 2.0)
    soft = standing.order
    standing.tell("kill", 3.0)
    assert standing.order.kind == "kill"
    hard = standing.order
    standing.tell("end", 4.0)
    standing.tell("kill", 4.0)
    assert standing.order is hard is not soft


def test_a_start_while_the_last_one_is_cleared_away_stands(standing):
    begun(standing).saw(None, Seen(there=True, code=3), 2.0)
    clearing = standing.order
    standing.start({"A": "b"}, 3.0)
    assert standing.order.kind == "begin"
    assert not standing.saw(clearing, NOTHING, 4.0)
    assert standing.state.running


def test_silence_fails_only_a_start_that_was_not_taken(standing):
    standing.saw(None, NOTHING, 0.0)
    standing.start({}, 0.0)
    standing.missed(standing.order, "no answer", 9.0)
    assert standing.state.waiting == "no answer"
    standing.order.given = True
    standing.missed(standing.order, "no answer", 100.0)
    assert standing.state.running
    standing.order.given = False
    standing.order.tried = True
    standing.missed(standing.order, "no answer", 100.0)
    assert "could not be started in 10 s: no answer" in standing.state.failure
    assert standing.order.kind == "end"


def test_ranks_may_be_stuck_for_a_while_and_the_while_begins_anew(standing):
    begun(standing)
    stuck = Seen(there=True, waiting="no image", stuck=True)
    standing.saw(None, stuck, 10.0)
    standing.saw(None, RUNS, 39.0)
    standing.saw(None, stuck, 41.0)
    standing.saw(None, stuck, 70.0)
    assert standing.state.running
    standing.saw(None, stuck, 72.0)
    assert "no image" in standing.state.failure


def test_what_has_ended_before_anybody_looked_is_cleared_away_and_has_no_code(standing):
    standing.saw(None, Seen(there=True, code=3), 0.0)
    assert (standing.state.running, standing.state.code) == (False, None)
    assert standing.order.kind == "end"


def test_what_stays_without_taking_up_a_place_is_left_there(standing):
    begun(standing).saw(None, Seen(there=True, code=0, occupies=False), 2.0)
    assert standing.at_rest
