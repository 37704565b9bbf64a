"""What has become of ranks, told from their processes."""

from curtail_dist.membership.agent.fate import Fate, fate
from curtail_dist.membership.provision import RanksState


def running(*ranks: int) -> RanksState:
    return RanksState(running=True, pid=1, ranks=ranks)


def test_ranks_that_are_all_there_or_have_only_appeared_are_alive():
    assert fate((), running()) is Fate.ALIVE
    assert fate((), running(7)) is Fate.ALIVE
    assert fate((7,), running(7)) is Fate.ALIVE


def test_a_rank_with_another_id_was_restarted_and_one_without_successor_is_unclear():
    assert fate((7,), running(8)) is Fate.RESTARTED
    assert fate((7,), running()) is Fate.UNCLEAR


def test_without_a_launcher_they_have_ended():
    assert fate((7,), RanksState(running=False, code=0)) is Fate.ENDED
