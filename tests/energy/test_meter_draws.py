import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.energy.meters import Span
from curtail_dist.energy.meters.draws import Stay, draws

WATTS = {"train": 2000.0, "idle": 500.0, "sync": 400.0}


def stay(start, stop, phase):
    return Stay(start=start, stop=stop, phase=phase, watts=WATTS[phase])


def span(start, stop, joules, stated=0.0):
    return Span(start=start, stop=stop, joules=joules, stated=stated)


def told(found):
    return [(d.start, d.stop, d.phase, pytest.approx(d.energy), d.modelled > 0) for d in found]


def test_without_a_meter_the_model_counts():
    found = draws([stay(0, 10, "train"), stay(10, 30, "idle")])
    assert told(found) == [(0, 10, "train", 20_000, True), (10, 30, "idle", 10_000, True)]
    assert all(draw.modelled == draw.watts for draw in found)


def test_a_span_inside_a_phase_is_that_phase_s_and_the_model_counts_beside_it():
    assert told(draws([stay(0, 100, "train")], [span(20, 30, 15_000), span(50, 60, 18_000)])) == [
        (0, 20, "train", 40_000, True),
        (20, 30, "train", 15_000, False),
        (30, 50, "train", 40_000, True),
        (50, 60, "train", 18_000, False),
        (60, 100, "train", 80_000, True),
    ]


def test_readings_at_the_changes_of_phase_split_nothing():
    stays = [stay(0, 60, "train"), stay(60, 70, "sync")]
    found = draws(stays, [span(0, 60, 111), span(60, 70, 222)])
    assert told(found) == [(0, 60, "train", 111, False), (60, 70, "sync", 222, False)]
    assert not any(draw.apportioned for draw in found)


def test_a_span_over_two_phases_keeps_its_sum_and_is_divided_as_the_model_would():
    found = draws([stay(0, 10, "train"), stay(10, 20, "sync")], [span(0, 20, 12_000)])
    assert told(found) == [(0, 10, "train", 10_000, False), (10, 20, "sync", 2_000, False)]
    assert [draw.apportioned for draw in found] == [False, True]


def test_of_two_equal_shares_one_is_apportioned():
    found = draws([stay(0, 10, "train"), stay(10, 20, "train")], [span(0, 20, 8)])
    assert [draw.apportioned for draw in found] == [False, True]


def test_what_is_drawn_while_off_is_off_and_a_change_to_off_gives_it_nothing():
    found = draws([stay(50, 60, "train")], [span(0, 40, 900), span(40, 55, 7_000)])
    assert told(found) == [
        (0, 40, "off", 900, False),
        (50, 55, "train", 7_000, False),
        (55, 60, "train", 10_000, True),
    ]


def test_a_model_that_states_nothing_divides_by_time():
    stays = [
        Stay(start=0, stop=10, phase="idle", watts=0.0),
        Stay(start=10, stop=40, phase="sync", watts=0.0),
    ]
    assert told(draws(stays, [span(0, 40, 400)])) == [
        (0, 10, "idle", 100, False),
        (10, 40, "sync", 300, False),
    ]


def test_what_a_meter_only_states_counts_as_modelled():
    (draw,) = draws([stay(0, 10, "train")], [span(0, 10, 800, stated=200)])
    assert draw.energy == pytest.approx(800)
    assert draw.modelled_energy == pytest.approx(200)


@pytest.mark.parametrize(
    ("stays", "spans"),
    [
        ([stay(0, 10, "train"), stay(5, 15, "idle")], []),
        ([stay(0, 10, "train")], [span(0, 6, 1), span(5, 10, 1)]),
    ],
)
def test_what_overlaps_is_refused(stays, spans):
    with pytest.raises(ValueError, match="overlap"):
        draws(stays, spans)


def chunks(values):
    """Neighbouring stretches of time, some of them left out."""
    edges = st.lists(st.integers(0, 200), unique=True, min_size=2, max_size=12).map(sorted)
    return edges.flatmap(
        lambda found: st.tuples(
            *(st.one_of(st.none(), values(low, high)) for low, high in pairwise(found))
        ).map(lambda parts: [part for part in parts if part is not None])
    )


@given(
    chunks(lambda low, high: st.sampled_from(sorted(WATTS)).map(lambda phase: stay(low, high, phase))),
    chunks(lambda low, high: st.integers(1, 10**6).map(lambda joules: span(low, high, joules))),
)
def test_all_that_was_measured_counts_once_and_every_other_moment_by_the_model(stays, spans):
    found = draws(stays, spans)
    measured = math.fsum(d.energy for d in found if not d.modelled)
    assert measured == pytest.approx(math.fsum(s.joules for s in spans))
    covered = {second for s in spans for second in range(s.start, s.stop)}
    left = math.fsum(s.watts for s in stays for second in range(s.start, s.stop) if second not in covered)
    assert math.fsum(d.energy for d in found if d.modelled) == pytest.approx(left)
    assert all(later.start >= earlier.stop for earlier, later in pairwise(found))
