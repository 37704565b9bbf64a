"""Sites in namespaces: the link has its rate, and nothing of it is left, whatever happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from thinlink.network import Network
from thinlink.sites import SiteFailed, thin_link
from thinlink.sockets import tcp_sent

RATE_BIT_S = 5e7
SIZE = 2_000_000
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(Network.why_not() is not None, reason=f"no network here: {Network.why_not()}"),
]


def namespaces():
    """Ids of the network namespaces that any process is in."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(entry.readlink())
        except OSError:
            continue  # it has ended
    return found


def settles(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def exchanging(place, size):
    store, exchange = place.serve(), place.form("test")
    payload = torch.zeros(size, dtype=torch.uint8)
    exchange.gather(payload[:1], [1] * place.size)
    sent, began = tcp_sent(), time.monotonic()
    exchange.gather(payload, [size] * place.size)
    took = time.monotonic() - began
    time.sleep(0.3)
    sent = tcp_sent().since(sent).once
    exchange.gather(payload[:1], [1] * place.size)
    del store
    return took, sent


def failing(place):
    if place.rank == 1:
        raise ValueError("no")
    time.sleep(60)


def test_both_directions_of_a_link_have_its_rate_at_the_same_time():
    with thin_link(2, RATE_BIT_S) as sites:
        before = sites.sent_bytes()
        results = sites.play(exchanging, SIZE)
        wire = [now - then for now, then in zip(sites.sent_bytes(), before, strict=True)]
    for (took, sent), on_wire in zip(results, wire, strict=True):
        assert 0.9 * SIZE * 8 / RATE_BIT_S < took < 1.5 * SIZE * 8 / RATE_BIT_S
        assert SIZE <= sent < 1.01 * SIZE
        assert 1.02 * SIZE < on_wire < 1.15 * SIZE


@pytest.mark.parametrize("slow", [{"up": {1: RATE_BIT_S / 3}}, {"down": {0: RATE_BIT_S / 3}}], ids=str)
def test_a_site_may_send_or_be_sent_more_slowly(slow):
    """What rank 1 sends to rank 0 takes three times as long; the other way is as fast as ever."""
    with thin_link(2, RATE_BIT_S, **slow) as sites:
        (took, _), _ = sites.play(exchanging, SIZE)
    assert 2.7 * SIZE * 8 / RATE_BIT_S < took < 4.5 * SIZE * 8 / RATE_BIT_S


def test_three_sites_reach_each_other():
    with thin_link(3, RATE_BIT_S) as sites:
        assert len(sites.play(exchanging, 10_000)) == 3


def test_nothing_is_left_behind():
    before = namespaces()
    with thin_link(2, RATE_BIT_S):
        assert len(namespaces() - before) == 3
    assert settles(lambda: not namespaces() - before)


def test_nothing_is_left_behind_after_an_error_at_a_site():
    before = namespaces()
    with pytest.raises(SiteFailed, match="rank 1: ValueError: no"), thin_link(2, RATE_BIT_S) as sites:
        sites.play(failing)
    assert settles(lambda: not namespaces() - before)


def test_nothing_is_left_behind_when_the_network_cannot_be_made():
    before = namespaces()
    with pytest.raises(OSError, match="tbf"), Network(2, -1.0):
        pass
    assert settles(lambda: not namespaces() - before)


def test_nothing_is_left_behind_by_a_process_that_is_killed():
    before = namespaces()
    program = "from thinlink.sites import thin_link\nwith thin_link(2, 1e6):\n print(1, flush=True)\n input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
    )
    assert owner.stdout is not None
    assert owner.stdout.readline()
    assert len(namespaces() - before) == 3
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert settles(lambda: not namespaces() - before)
