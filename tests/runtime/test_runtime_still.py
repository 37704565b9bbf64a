"""Rounds that move nothing, as with a learning rate that has come to 0: they are versions like any other."""

import pytest
from lab import ROWS, sorted_rows

from curtail_dist.membership.records import Commit

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize("optimizer", ["average", "nesterov"])
@pytest.mark.parametrize("sites", ["a", "ab"])
def test_rows_of_rounds_that_move_nothing_are_in_the_chain(make_lab, store, sites, optimizer):
    lab = make_lab(f"still-{sites}-{optimizer}", train={"lr": 0.0}, outer={"optimizer": optimizer})
    results = [ranks.result() for ranks in [lab.start(site) for site in sites]]
    entry = store.get(lab.keys.head)
    assert entry is not None
    head = Commit.decode(entry.value)
    assert head.complete, "the run's end stands in the store"
    chain = lab.chain()
    assert (head.version, head.hash) == (len(chain), chain[len(chain)]["hash"])
    assert chain[len(chain)]["rows"] == ROWS
    assert sorted_rows(lab.committed_rows())
    assert {result["version"] for result in results} == {head.version}
