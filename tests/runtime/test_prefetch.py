import gc
from contextlib import ExitStack

import pytest
from ahead import CHUNKS, SENT, Run, ended, make
from versions import WAIT_S

from curtail_dist.state.version import Version


@pytest.fixture
def run(tmp_path):
    with ExitStack() as stack:
        yield Run(tmp_path / "run", stack)


def test_a_version_is_here_before_it_is_asked_for(run):
    version, record = make(4)
    giver = run.give(version)
    line = run.line(giver)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.hung_up.wait(WAIT_S)
    line.close()
    giver.close()
    found, told = prefetch.take(4, record.hash)
    assert (found.number, found.hash, told) == (4, version.hash, record)
    assert prefetch.take(4, record.hash) is None, "it is handed over once"
    ended()


def test_a_version_under_way_is_waited_for_while_its_chunks_come(run):
    version, record = make(4)
    line = run.line(run.give(version), allowed=CHUNKS // 2 * SENT)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)
    found, _ = prefetch.take(4, record.hash, progress=lambda: line.allow(SENT))
    assert found.hash == version.hash
    assert line.connections == 1


def test_where_head_moves_before_it_is_asked_for_the_new_version_is_here_and_the_old_gone(run, monkeypatch):
    monkeypatch.setattr("curtail_dist.runtime.prefetch._RETRY_S", 60.0)  # it is the store that says it
    (old, before), (new, after) = make(41), make(42)
    giver = run.give(old)
    line = run.line(giver)
    run.live(b=line)
    run.commit(before)
    prefetch = run.fetch()
    assert line.hung_up.wait(WAIT_S)
    giver.held = new
    run.commit(after)
    giver.wait_for(42)
    held = [one for one in gc.get_objects() if type(one) is Version and one.number == 41]
    assert len(held) == 1, "the giver's alone: it was let go before the new one was asked for"
    assert prefetch.take(41, before.hash) is None
    found, told = prefetch.take(42, after.hash)
    assert (found.hash, told) == (new.hash, after)


def test_a_transfer_that_a_commit_overtakes_is_broken_off(run):
    (old, before), (new, after) = make(4), make(5)
    giver = run.give(old)
    line = run.line(giver, allowed=CHUNKS // 4 * SENT)
    run.live(b=line)
    run.commit(before)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)
    giver.held = new
    run.commit(after)
    for _ in range(CHUNKS // 2):
        line.allow(SENT)
        if line.hung_up.wait(0.1):
            break
    assert line.hung_up.is_set()
    line.allow()
    giver.wait_for(5)
    assert prefetch.take(5, after.hash)[0].hash == new.hash


def test_a_transfer_that_is_waited_for_is_finished_whatever_is_committed(run):
    (old, before), (new, after) = make(4), make(5)
    giver = run.give(old)
    line = run.line(giver, allowed=CHUNKS // 4 * SENT)
    run.live(b=line)
    run.commit(before)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)

    def go_on():
        if giver.held is old:
            giver.held = new
            run.commit(after)
        line.allow(SENT)

    assert prefetch.take(4, before.hash, progress=go_on)[0].hash == old.hash
    ended()
    assert giver.asked == [4]


def test_a_connection_that_breaks_is_gone_on_from_at_another_member(run):
    version, record = make(4)
    giver = run.give(version)
    broken = run.line(giver, allowed=CHUNKS // 2 * SENT, cuts=True)
    run.live(b=broken)
    run.commit(record)
    prefetch = run.fetch()
    assert broken.stalled.wait(WAIT_S)
    other = run.line(giver)
    run.live(b=broken, c=other)
    assert other.hung_up.wait(WAIT_S)
    assert prefetch.take(4, record.hash)[0].hash == version.hash
    assert other.passed < (CHUNKS // 2 + 4) * SENT


def test_a_later_version_than_the_one_under_way_ends_it(run):
    version, record = make(4)
    line = run.line(run.give(version), allowed=CHUNKS // 4 * SENT)
    run.live(b=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.stalled.wait(WAIT_S)
    assert prefetch.take(5, "0" * 64) is None
    line.allow(2 * SENT)
    assert line.hung_up.wait(WAIT_S)
    ended()
    assert prefetch.take(4, record.hash) is None


def test_the_process_whose_place_this_one_takes_is_not_asked(run):
    version, record = make(4)
    forerunner, giver = run.give(version), run.give(version)
    line = run.line(giver)
    run.live(me=forerunner, you=line)
    run.commit(record)
    prefetch = run.fetch()
    assert line.hung_up.wait(WAIT_S)
    assert prefetch.take(4, record.hash)[0].hash == version.hash
    assert forerunner.asked == []


def test_a_store_that_is_away_at_first_is_waited_for(run, monkeypatch):
    monkeypatch.setattr("curtail_dist.runtime.prefetch._RETRY_S", 0.01)
    version, record = make(4)
    giver = run.give(version)
    run.live(b=giver)
    run.commit(record)
    run.store.away = True
    prefetch = run.fetch()
    assert run.store.missed.wait(WAIT_S)
    run.store.away = False
    giver.wait_for(4)
    assert prefetch.take(4, record.hash)[0].hash == version.hash
