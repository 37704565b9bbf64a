"""A lone process commits a version and dies before it tells of it: the record of the run knows it anyway."""

import signal

import pytest
from lab import ROWS

from curtail_dist.report.audit import count_rows
from curtail_dist.report.chain import read_chain
from curtail_dist.report.discards import discards_of

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize("version", [2, 29], ids=["in the middle", "the last one"])
def test_a_version_that_its_committer_did_not_live_to_tell_of_is_in_the_record(make_lab, version):
    last = ROWS // 4 // 10
    lab = make_lab(f"untold{version}", train={"die_at": f"a:Swap:{version}"})
    killed = lab.start("a")
    code, _, said = killed.end()
    assert code == -signal.SIGKILL, said
    told = [record["version"] for record in lab.events("commit")]
    assert told[-1] == version, "head was this, and the next one stands in the store alone"
    again = lab.start("a", "train.die_at='a:never:0'").result()
    assert again["version"] == last

    chain = read_chain(lab.events())
    assert [commit.version for commit in chain.commits] == list(range(1, last + 1))
    counted = count_rows(chain.commits, total=ROWS, finished=bool(chain.ends))
    assert (counted.trained, counted.duplicated, counted.lost) == (ROWS, 0, 0)
    assert discards_of("a", lab.events(), chain) == (), "its work is in the chain"
