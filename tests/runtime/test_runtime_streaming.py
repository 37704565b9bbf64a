"""Fragments, delay and mixing in real runs: a commit fails in the middle, a site joins, and all agree."""

import signal

import pytest
from lab import ROWS

from curtail_dist.report.audit import count_rows
from curtail_dist.report.chain import read_chain

pytestmark = [
    pytest.mark.integration,
    pytest.mark.fault,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tau", [0, 1])
@pytest.mark.parametrize("fragments", [1, 2])
def test_all_sites_have_equal_bytes_at_every_version(make_lab, store, fragments, tau, alpha):
    """b is killed before it votes on a version; then c comes in. Hashes are of anchor and momentum."""
    lab = make_lab(
        f"streaming{fragments}{tau}{alpha}",
        train={"step_s": 0.01, "die_at": "b:GatherVotes:4"},
        outer={"fragments": fragments, "sync_delay": tau, "mix_alpha": alpha},
    )
    together, enter = lab.gate("together"), lab.gate("enter")
    a, b = (lab.start(site, f"train.gate={together}") for site in ("a", "b"))
    c = lab.start("c", f"train.enter={enter}")
    founder = lab.until(lambda: lab.events("joined"), "a founder")[0].site
    lab.until_ready(store, "b" if founder == "a" else "a")
    together.touch()
    code, _, said = b.end()
    assert code == -signal.SIGKILL, said
    died_on = int(said.rsplit("dies at GatherVotes on ", 1)[1])
    lab.until_commit(died_on + 2, of=a)
    enter.touch()
    results = {one.site: one.result() for one in (a, c)}

    chain = lab.chain()  # the members' hashes of each version agree
    sites = {version: [one["site"] for one in record["work"]] for version, record in chain.items()}
    assert sites[died_on] == ["a", "b"]
    assert sites[died_on + 1] == ["a"], "the commit that failed stands without the dead"
    assert any("c" in one for one in sites.values())
    assert results["a"]["hash"] == results["c"]["hash"]
    assert results["a"]["at_anchor"]
    assert results["c"]["at_anchor"]
    assert chain[max(chain)]["rows"] == ROWS
    counted = count_rows(read_chain(lab.events()).commits, total=ROWS, finished=True)
    assert (counted.trained, counted.duplicated, counted.lost) == (ROWS, 0, 0)
    moved = [record["synced"] for record in chain.values()]
    assert all(each == [0] for each in moved) if fragments == 1 else ([0] in moved and [1] in moved)
    if fragments == 2:
        assert chain[died_on + 1]["returned"] == [[died_on, "b"]]
