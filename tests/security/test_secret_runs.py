"""Runs of real processes with a secret: who takes part, and what strangers can do to them."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab import SITE, Lab, sorted_rows, wait_for
from listening import descriptors, ports, status
from nursery import Nursery
from strangers import flood

from curtail_dist.config import CoordinationConfig
from curtail_dist.coordination import EmbeddedEtcd, open_store
from curtail_dist.membership.records import Presence
from curtail_dist.security.secret import new_secret

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]
START_S = 150.0
"""Until processes stand that all start at once, on a machine that has something else to do."""
FLOOD_S = 120.0
CONNECTIONS = 10_000
"""Of strangers, to all ports together."""


@pytest.fixture(scope="module")
def etcd():
    with EmbeddedEtcd() as etcd:
        yield etcd


@pytest.fixture(scope="module")
def store(etcd):
    with open_store(CoordinationConfig(endpoints=(etcd.endpoint,))) as store:
        yield store


@pytest.fixture
def make_lab(etcd, nursery, tmp_path):
    """Make the lab of a run with a secret; the file that holds it is its `secret`."""
    labs = []

    def make(name, *, secret=True, nursery=nursery, **sections):
        path = tmp_path / "secret"
        path.touch(mode=0o600)
        path.write_text(new_secret())
        security = {"secret_file": str(path)} if secret else {}
        labs.append(Lab(tmp_path, nursery, etcd.endpoint, name=name, security=security, **sections))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


def together(lab, store, sites, *overrides):
    """Start sites that take no step before all are ready; return their processes."""
    gate = lab.gate("together")
    ranks = {site: lab.start(site, f"train.gate={gate}", *overrides) for site in sites}
    founder = wait_for(lambda: lab.events("joined"), "a founder", timeout=START_S)[0].site
    for site in {*sites} - {founder}:
        lab.until_ready(store, site)
    gate.touch()
    return ranks


def test_three_sites_with_the_secret_train_to_the_end_and_hold_the_same_bytes(make_lab, store):
    lab = make_lab("three", train={"step_s": 0.005})
    ended = [one.result() for one in together(lab, store, "abc").values()]
    assert len({one["hash"] for one in ended}) == 1
    assert all(one["seen"] for one in ended)
    assert sorted_rows(lab.committed_rows())
    assert not lab.events("round_discarded")
    assert any(one["bytes_sent"] for one in lab.events("commit"))


def test_who_has_another_secret_or_none_is_refused_and_told_so(make_lab, tmp_path, store):
    lab = make_lab("refused", train={"step_s": 0.2, "hurry": str(tmp_path / "hurry")})
    member = together(lab, store, "a")["a"]
    lab.until_commit(1, of=member)
    other = tmp_path / "other"
    other.touch(mode=0o600)
    other.write_text(new_secret())
    strangers = [lab.start("b", "security.secret_file=null"), lab.start("c", f"security.secret_file={other}")]
    for code, _, said in (stranger.end() for stranger in strangers):
        assert code == 2
        assert "secret is" in said
    (tmp_path / "hurry").touch()
    assert sorted_rows(member.result()["seen"])
    assert {tuple(one["members"]) for one in lab.events("epoch")} == {("a",)}


class Seen:
    """What a site's process is like."""

    def __init__(self, ranks):
        self.pid = ranks.pid
        self.threads, self.kilobytes = status(self.pid, "Threads"), status(self.pid, "VmRSS")
        self.descriptors = descriptors(self.pid)


def disturbed(lab, store, ports_of, **strangers):
    """Play a run of two sites that strangers disturb at the ports of each process, and check what holds.

    Return what each site said on its standard error.
    """
    hurry = lab.gate("hurry")
    ranks = together(lab, store, "ab", f"train.hurry={hurry}")
    first = {site: lab.until_commit(2, of=one) for site, one in ranks.items()}
    every = {port for one in ranks.values() for port in ports_of(one)}
    assert len(every) == 4, "of each site the state server and the meeting of its groups"
    before = {site: Seen(one) for site, one in ranks.items()}
    with ThreadPoolExecutor(1) as pool:
        flooded = pool.submit(flood, every, CONNECTIONS, **strangers)
        connections, seconds = flooded.result(FLOOD_S)
    after = {site: lab.events("commit", of=one)[-1]["version"] for site, one in ranks.items()}
    for site, one in before.items():
        wait_for(lambda one=one: status(one.pid, "Threads") <= one.threads + 2, f"{site}: threads gone")
        wait_for(lambda one=one: descriptors(one.pid) <= one.descriptors + 4, f"{site}: connections gone")
        assert status(one.pid, "VmRSS") < one.kilobytes + 200_000
    assert connections >= CONNECTIONS
    hurry.touch()
    said = {site: one.end() for site, one in ranks.items()}
    assert all(code == 0 for code, _, _ in said.values())
    assert len({json.loads(out.splitlines()[-1])["hash"] for _, out, _ in said.values()}) == 1
    assert all(after[site] > first[site]["version"] for site in ranks), "rounds ended meanwhile"
    assert sorted_rows(lab.committed_rows())
    assert {one["reason"] for one in lab.events("epoch")} == {"founded", "joined"}
    assert {one.epoch for one in lab.events("commit")} == {2}, "no other than in a run that nobody disturbs"
    assert not lab.events("round_discarded")
    assert not lab.events("peer_missed")
    logging.getLogger(__name__).info("%d connections to %d ports in %.1f s", connections, len(every), seconds)
    return {site: err for site, (_, _, err) in said.items()}


def test_ten_thousand_strangers_at_every_port_change_nothing_but_a_few_lines_of_the_log(make_lab, store):
    lab = make_lab("disturbed", train={"step_s": 0.25}, round={"steps": 4, "grace_s": 1.0})
    said = disturbed(lab, store, lambda ranks: ports(ranks.pid))
    for lines in said.values():
        refused = [line for line in lines.splitlines() if "refused" in line]
        assert refused
        assert len(refused) < 12
        assert len(lines.splitlines()) < 30, lines
        assert "Traceback" not in lines


@pytest.fixture
def quiet():
    """What ranks are forked from whose torch does not say a line of each stranger; torch asks when loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
        with Nursery() as nursery:
            yield nursery


def test_ten_thousand_strangers_do_not_crash_a_site_without_a_secret_either(quiet, make_lab, store):
    """Gloo's own port is left out: it keeps what each stranger opened, for as long as the group stands."""
    lab = make_lab(
        "bare",
        secret=False,
        nursery=quiet,
        train={"step_s": 0.25},
        round={"steps": 4, "grace_s": 1.0},
        sites={"far": {**SITE, "address": "10.0.0.9"}},
    )

    def own_ports(ranks):
        entry = store.get(lab.keys.member(ranks.site))
        assert entry is not None
        member = Presence.decode(entry.value).member
        return {member.state_port, member.group_port}

    said = disturbed(lab, store, own_ports, patience=0.05)
    for lines in said.values():
        assert lines.count("run bare has no secret") == 1, "and that is said where a site is elsewhere"
