"""What a process knows of its own place in the run."""

import pytest

from curtail_dist.errors import Expelled


def test_a_process_that_has_not_entered_has_neither_epoch_nor_head(town):
    part = town.party("a", present=False).part
    with pytest.raises(Expelled, match="site a has no seat in an epoch; it must enter the run first"):
        _ = part.epoch
    with pytest.raises(Expelled, match="site a stands on no version; it must enter the run first"):
        _ = part.head


def test_ranks_follow_the_order_of_the_epoch(town):
    parties = [town.party(site, present=False) for site in ("b", "a", "c")]
    town.seat(*parties)
    assert [party.part.rank for party in parties] == [1, 0, 2]
