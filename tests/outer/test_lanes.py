"""Every member divides a payload in the same way."""

import pytest

from curtail_dist.outer.lanes import spans


@pytest.mark.parametrize(("size", "used"), [(0, 0), (1, 1), (1 << 16, 1), ((1 << 16) + 1, 2), (10**7 + 3, 4)])
def test_a_payload_is_divided_among_lanes_as_far_as_it_is_worth_it(size, used):
    found = spans(size, 4)
    assert len(found) == used
    edges = [0, *(span.stop for span in found)]
    assert [span.start for span in found] == edges[:-1]
    assert edges[-1] == size
    lengths = [span.stop - span.start for span in found]
    assert not lengths or max(lengths) - min(lengths) <= 1
