import math

import pytest

from curtail_dist.energy.saving import Saving


def saving(reference_kg, run_kg, bound_kg, work_s=3600.0):
    return Saving(reference_kg=reference_kg, run_kg=run_kg, bound_kg=bound_kg, work_s=work_s)


def test_the_fraction_is_one_at_the_bound_and_none_without_a_saving():
    assert saving(10.0, 1.0, 1.0).fraction == 1.0
    assert saving(10.0, 10.0, 1.0).fraction == 0.0
    assert saving(10.0, 12.0, 1.0).fraction < 0
    assert saving(1.0, 1.0, 1.0).fraction is None
    assert saving(1.0, 1.5, 2.0).fraction is None


def test_rounding_is_no_saving():
    once = math.nextafter(0.3, 1.0)
    assert saving(once, 0.3, 0.3).fraction is None
    assert saving(0.3, once, once).fraction is None


def test_what_always_on_sites_emit_in_a_slot_is_what_can_be_resolved():
    assert saving(10.0, 5.0, 1.0).resolvable_kg == pytest.approx(10.0 * 300 / 3600)
    assert saving(0.0, 0.0, 0.0, work_s=0.0).resolvable_kg is None
