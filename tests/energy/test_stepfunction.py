import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.energy.stepfunction import StepFunction

STEPS = StepFunction(edges=(0.0, 10.0, 30.0, 40.0), values=(1.0, 5.0, 2.0))


def test_a_value_holds_from_its_edge_to_just_before_the_next():
    assert [STEPS.at(at) for at in (0.0, 9.999, 10.0, 29.0, 30.0)] == [1.0, 1.0, 5.0, 5.0, 2.0]
    assert STEPS.since(29.0) == 10.0


@pytest.mark.parametrize("at", [-0.001, 40.0, math.inf])
def test_nothing_is_known_outside(at):
    with pytest.raises(ValueError, match="outside"):
        STEPS.at(at)


def test_the_integral_is_exact_across_pieces():
    assert STEPS.integral(5.0, 35.0) == 5 * 1 + 20 * 5 + 5 * 2
    assert STEPS.integral(7.0, 7.0) == 0.0


def test_an_integral_that_leaves_the_known_range_is_refused():
    with pytest.raises(ValueError, match="not inside"):
        STEPS.integral(35.0, 41.0)


@given(st.lists(st.floats(0, 40), min_size=3, max_size=3).map(sorted))
def test_integrals_add_up(moments):
    a, b, c = moments
    assert STEPS.integral(a, c) == pytest.approx(STEPS.integral(a, b) + STEPS.integral(b, c))


def test_points_give_the_function_back():
    assert StepFunction.from_points(STEPS.points()) == STEPS


def test_clipping_keeps_the_values_and_cuts_the_ends():
    assert STEPS.clipped(5.0, 35.0) == StepFunction(edges=(5.0, 10.0, 30.0, 35.0), values=(1.0, 5.0, 2.0))
    assert STEPS.clipped(40.0, 50.0) is None


@pytest.mark.parametrize("edges", [(0.0, 0.0), (1.0, 0.0), (0.0,)])
def test_edges_that_do_not_fit_are_refused(edges):
    with pytest.raises(ValueError, match="edge"):
        StepFunction(edges=edges, values=(1.0,))
