"""Two sites that exchange in int4: they hold the same bytes, and send an eighth."""

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]


def test_sites_agree_on_every_version_and_send_an_eighth(make_lab, store):
    lab = make_lab("codec", train={"step_s": 0.01, "width": 300}, outer={"codec": "int4"})
    gate = lab.gate("together")
    ranks = {site: lab.start(site, f"train.gate={gate}") for site in ("a", "b")}
    founder = lab.until(lambda: lab.events("joined"), "a founder")[0].site
    lab.until_ready(store, "b" if founder == "a" else "a")
    gate.touch()
    results = {site: one.result() for site, one in ranks.items()}
    of = {
        site: {one["version"]: one["hash"] for one in lab.events("commit", of=one_site)}
        for site, one_site in ranks.items()
    }
    assert of["a"] == of["b"]
    assert len(of["a"]) > 3
    assert results["a"]["hash"] == results["b"]["hash"]
    sent = [one["bytes_sent"] for one in lab.events("commit", of=ranks["a"]) if len(one["work"]) > 1]
    numbers = 3 * 300
    assert sent
    # Cards and votes come on top, a few hundred bytes in each round.
    assert max(sent) < 0.54 * numbers + 2000 < 4 * numbers
