"""Which versions stand: what several members recorded, rewinds that were told, and such that were not."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from writing import SetClock, site_started

from curtail_dist.errors import StateDiverged
from curtail_dist.report.build import summarize
from curtail_dist.report.chain import Chain, read_chain
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import EventLog, Record

SITES = ("california", "ohio", "texas")


def say(event: str, *, site: str = "texas", epoch: int = 0, t: float = 1.0, **fields: object) -> Record:
    wall = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=t)
    place = {"site": site, "epoch": epoch, "round": 1, "t": t, "wall": wall, "seq": 0, "process": "p"}
    return Record(event=event, **place, fields=fields)  # type: ignore[arg-type]


def record(
    site: str, version: int, hash: str, event: str = "commit", rows: int = 4, epoch: int = 1, **fields: object
) -> Record:
    work = [{"site": "texas", "tokens": 1, "steps": 1, "rows": [[0, rows]]}]
    fields = {"version": version, "hash": hash, "tokens": 1, "rows": rows, "work": work, **fields}
    return say(event, site=site, epoch=epoch, **fields)


def rewound(base: int) -> Record:
    return say("rewound", base=base, hash="aa", dropped=1)


def epoch(number: int, reason: str) -> Record:
    return say("epoch", epoch=number, members=["texas"], reason=reason)


def resumed(version: int, epoch: int) -> Record:
    return say("joined", epoch=epoch, version=version, how="resumed")


def found(version: int, parent: str, hash: str, *, committed_in: int, epoch: int) -> Record:
    """What a site tells that comes in at this head."""
    return record(
        "texas", version, hash, event="head_found", epoch=epoch, parent=parent, committed_in=committed_in
    )


def standing(chain: Chain) -> list[tuple[int, str]]:
    return [(commit.version, commit.hash) for commit in chain.commits]


def gone(chain: Chain) -> list[str]:
    return [dropped.commit.hash for dropped in chain.dropped]


def test_a_rewind_takes_the_versions_after_its_base_out_of_the_chain():
    dead = [record("texas", 1, "aa"), record("texas", 2, "bb"), record("texas", 3, "cc")]
    chain = read_chain([*dead, rewound(1)])
    assert (standing(chain), gone(chain)) == ([(1, "aa")], ["bb", "cc"])
    again = [record("ohio", 2, "dd", epoch=2, rows=7), record("texas", 2, "dd", epoch=2, rows=7)]
    assert standing(read_chain([*dead, rewound(1), *again])) == [(1, "aa"), (2, "dd")]


def test_a_dropped_version_that_is_written_down_after_the_rewind_stays_dropped():
    late = [record("ohio", 2, "bb"), record("ohio", 3, "cc")]
    records = [record("texas", 1, "aa"), record("texas", 2, "bb"), rewound(1), *late]
    assert standing(read_chain(records)) == [(1, "aa")]
    chain = read_chain([*records, record("texas", 2, "dd", epoch=2), *late])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "dd")], ["bb", "cc"])


def test_a_round_that_is_done_again_with_the_same_bytes_counts():
    records = [record("texas", 1, "aa"), record("texas", 2, "bb"), rewound(1)]
    chain = read_chain([*records, record("texas", 2, "bb", epoch=2)])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "bb")], ["bb"])


def test_a_second_rewind_leaves_the_first_in_force():
    records = [record("texas", 1, "aa"), record("texas", 2, "bb"), rewound(1)]
    records += [record("texas", 2, "cc", epoch=2), record("texas", 3, "dd", epoch=2), rewound(2)]
    chain = read_chain([*records, record("ohio", 2, "bb")])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "cc")], ["bb", "dd"])


def test_two_hashes_after_a_rewind_are_still_divergence():
    records = [record("texas", 1, "aa"), record("texas", 2, "bb"), rewound(1)]
    records += [record("texas", 2, "cc", epoch=2), record("ohio", 2, "dd", epoch=2)]
    with pytest.raises(StateDiverged, match="version 2 is cc at texas and dd at ohio"):
        read_chain(records)


def test_a_version_that_several_members_recorded_counts_once():
    chain = read_chain([record("texas", 1, "aa"), record("california", 1, "aa"), record("texas", 2, "bb")])
    assert standing(chain) == [(1, "aa"), (2, "bb")]


def test_two_hashes_for_one_version_are_divergence_that_names_both_sites():
    with pytest.raises(StateDiverged, match="version 1 is aa at texas and ab at california"):
        read_chain([record("texas", 1, "aa"), record("california", 1, "ab")])


def test_two_accounts_of_the_work_in_one_version_are_divergence():
    with pytest.raises(StateDiverged, match="different work"):
        read_chain([record("texas", 1, "aa"), record("california", 1, "aa", rows=5)])


def test_versions_without_a_parent_diverge_whatever_their_epochs():
    with pytest.raises(StateDiverged, match="version 1 is aa at texas and ab at ohio"):
        read_chain([record("texas", 1, "aa", epoch=1), record("ohio", 1, "ab", epoch=3)])


# Version 2 of epoch 1 was dropped by a rewind in epoch 2, whose founder died before it said a word.
DARK = [record("texas", 1, "aa", parent="root"), record("texas", 2, "bb", parent="aa")]
AGAIN = record("ohio", 2, "cc", parent="aa", epoch=3)


def test_a_version_that_took_anothers_place_in_a_later_epoch_stands_though_nobody_told_of_the_rewind():
    chain = read_chain([*DARK, AGAIN, epoch(1, "founded"), epoch(3, "resumed")])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "cc")], ["bb"])


def test_the_same_parent_in_one_epoch_is_divergence():
    other = record("ohio", 2, "cc", parent="aa", epoch=1)
    with pytest.raises(StateDiverged, match="version 2 is bb at texas and cc at ohio"):
        read_chain([*DARK, other])


def test_what_was_announced_again_in_the_later_epoch_is_divergence():
    adopted = record("california", 2, "bb", parent="aa", epoch=3)
    with pytest.raises(StateDiverged, match="version 2 is"):
        read_chain([*DARK, adopted, AGAIN])


def test_a_commit_of_a_member_that_was_left_out_is_no_rewind():
    """Each epoch in between is known, and none began with a rewind: somebody had no right to commit."""
    told = [epoch(1, "founded"), epoch(2, "lost"), epoch(3, "joined")]
    with pytest.raises(StateDiverged, match="version 2 is bb at texas and cc at ohio"):
        read_chain([*DARK, AGAIN, *told])
    assert standing(read_chain([*DARK, AGAIN, *told[::2], epoch(2, "rewound")])) == [(1, "aa"), (2, "cc")]


def test_branches_that_are_both_built_upon_are_divergence():
    told = [epoch(number, reason) for number, reason in ((1, "founded"), (2, "lost"), (3, "lost"))]
    both = [record("ohio", 2, "cc", parent="aa", epoch=1), record("texas", 3, "dd", parent="bb", epoch=2)]
    with pytest.raises(StateDiverged):
        read_chain([*DARK, *both, record("ohio", 3, "ee", parent="cc", epoch=3), *told])


def test_a_version_on_another_parent_in_one_epoch_is_divergence():
    with pytest.raises(StateDiverged, match="version 3 stands on zz at ohio, and version 2 is bb at texas"):
        read_chain([*DARK, record("ohio", 3, "dd", parent="zz")])


def test_a_version_whose_parent_nobody_lived_to_record_drops_what_has_the_parents_place():
    chain = read_chain([*DARK, record("ohio", 3, "dd", parent="cc", epoch=3)])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (3, "dd")], ["bb"])


def test_a_dropped_version_that_a_sleeper_writes_down_last_stays_dropped():
    chain = read_chain([*DARK, AGAIN, record("california", 2, "bb", parent="aa")])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "cc")], ["bb"])


def test_a_dropped_branch_may_be_longer_than_the_one_that_stands():
    longer = [*DARK, record("texas", 3, "dd", parent="bb")]
    chain = read_chain([*longer, AGAIN])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "cc")], ["bb", "dd"])


def test_a_version_that_is_done_again_with_the_same_bytes_drops_what_followed_it():
    chain = read_chain([*DARK, record("ohio", 1, "aa", parent="root", epoch=4)])
    assert (standing(chain), gone(chain)) == ([(1, "aa")], ["bb"])
    adopted = [epoch(2, "lost"), record("ohio", 2, "bb", parent="aa", epoch=2)]
    assert standing(read_chain([*DARK, *adopted])) == [(1, "aa"), (2, "bb")]


def test_a_site_that_resumes_at_an_older_version_shows_the_rewind_before_anything_is_committed():
    chain = read_chain([*DARK, resumed(1, epoch=3)])
    assert (standing(chain), gone(chain)) == ([(1, "aa")], ["bb"])
    assert standing(read_chain([*DARK, resumed(2, epoch=3)])) == [(1, "aa"), (2, "bb")]
    told = [epoch(number, "resumed") for number in (1, 2, 3)]
    assert standing(read_chain([*DARK, resumed(1, epoch=3), AGAIN, *told])) == [(1, "aa"), (2, "cc")]


def test_a_rewind_that_was_told_and_resumed_from_drops_a_version_once():
    told = [rewound(1), epoch(2, "rewound"), resumed(1, epoch=2)]
    assert gone(read_chain([*DARK, *told, AGAIN])) == ["bb"]


def finish(site: str, version: int, hash: str, epoch: int = 1, t: float = 9.0) -> Record:
    return say("run_finished", site=site, epoch=epoch, t=t, version=version, hash=hash, tokens=1)


def test_a_finish_with_another_hash_than_the_version_is_divergence():
    with pytest.raises(StateDiverged, match="texas and bb at california"):
        read_chain([record("texas", 1, "aa"), finish("california", 1, "bb")])


def test_a_run_that_was_rewound_after_its_finish_is_not_finished():
    assert read_chain([*DARK, finish("texas", 2, "bb")]).ends == (9.0,)
    for rewind in (rewound(1), resumed(1, epoch=3), AGAIN):
        assert read_chain([*DARK, finish("texas", 2, "bb"), rewind]).ends == ()
    ends = read_chain([*DARK, finish("texas", 2, "bb"), AGAIN, finish("ohio", 2, "cc", epoch=3, t=12.0)]).ends
    assert ends == (12.0,)


def test_a_finish_whose_commit_nobody_lived_to_record_is_one():
    """Who came back found the run complete; it has no seat, so its word may carry no epoch."""
    records = [*DARK, rewound(1), AGAIN, finish("california", 3, "dd", epoch=0)]
    assert read_chain(records).ends == (9.0,)


def test_a_head_that_only_a_later_site_tells_of_stands_for_its_commit():
    records = [record("texas", 1, "aa", parent="root"), epoch(2, "resumed"), resumed(2, epoch=2)]
    assert standing(read_chain(records)) == [(1, "aa")]
    later = [found(2, "aa", "bb", committed_in=1, epoch=2), found(2, "aa", "bb", committed_in=1, epoch=2)]
    chain = read_chain([*records, *later, record("texas", 3, "cc", parent="bb", epoch=2)])
    assert standing(chain) == [(1, "aa"), (2, "bb"), (3, "cc")]
    assert gone(chain) == []
    assert chain.commits[1].work[0]["rows"] == [[0, 4]]


def test_a_head_that_was_found_and_told_of_counts_once():
    told = record("texas", 1, "aa", parent="root")
    chain = read_chain([told, resumed(1, epoch=2), found(1, "root", "aa", committed_in=1, epoch=2)])
    assert (standing(chain), gone(chain)) == ([(1, "aa")], [])
    assert chain.commits[0].t == told.t


def test_a_head_that_was_found_and_then_dropped_does_not_stand():
    records = [record("texas", 1, "aa", parent="root"), epoch(2, "joined")]
    records += [found(2, "aa", "bb", committed_in=1, epoch=2), rewound(1), epoch(3, "rewound")]
    chain = read_chain([*records, record("texas", 2, "dd", parent="aa", epoch=3)])
    assert (standing(chain), gone(chain)) == ([(1, "aa"), (2, "dd")], ["bb"])


class Play:
    """A made-up run, and the records of it: what stands is known here without reading them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.records: list[Record] = []
        self.late: list[Record] = []
        self.heads = ["root"]
        self.epoch = 0
        self.epochs = [0]  # of each head's commit
        self.found("founded")

    def found(self, reason: str) -> None:
        self.epoch += 1
        self.records.append(epoch(self.epoch, reason))

    def announce(self, site: str) -> Record:
        version = len(self.heads) - 1
        parent, hash = self.heads[-2:]
        return record(site, version, hash, parent=parent, epoch=self.epoch)

    def step(self) -> None:
        choice = self.draw(st.integers(0, 2))  # of a round that is done again the bytes may be the same
        self.heads.append(hashlib.sha256(f"{self.heads[-1]} {choice}".encode()).hexdigest()[:8])
        self.epochs.append(self.epoch)

    def come_back(self) -> None:
        """After the dark somebody takes the epoch, and tells what it found."""
        self.found("resumed")
        version = len(self.heads) - 1
        self.records.append(resumed(version, self.epoch))
        if version:
            committed_in = self.epochs[-1]
            self.records.append(found(version, *self.heads[-2:], committed_in=committed_in, epoch=self.epoch))

    def commit(self) -> None:
        self.step()
        sites = self.draw(st.lists(st.sampled_from(SITES), min_size=1, unique=True))
        self.records.append(self.announce(sites[0]))
        for site in sites[1:]:
            (self.late if self.draw(st.booleans()) else self.records).append(self.announce(site))

    def die(self) -> None:
        """Somebody commits, and dies before anybody tells of it."""
        self.step()
        self.come_back()

    def recover(self) -> None:
        """The store is lost; the newest snapshot is some versions old, or of one that nobody told of."""
        if self.draw(st.booleans()):
            self.step()
        else:
            kept = self.draw(st.integers(1, len(self.heads)))
            del self.heads[kept:], self.epochs[kept:]
        self.epoch += 1000
        self.come_back()

    def lose(self) -> None:
        self.found("lost")
        if len(self.heads) > 1 and self.draw(st.booleans()):
            self.records.append(self.announce("ohio"))  # had not seen the commit through, and adopts it

    def rewind(self) -> None:
        if len(self.heads) < 2:
            return
        self.heads.pop()
        self.epochs.pop()
        base = len(self.heads) - 1
        self.epoch += 1
        if self.draw(st.booleans()):
            self.records += [rewound(base), epoch(self.epoch, "rewound"), resumed(base, self.epoch)]
        if self.draw(st.booleans()):
            self.found("resumed")
            if self.draw(st.booleans()):  # else that site's events are not at hand
                self.records.append(resumed(base, self.epoch))

    def wake(self) -> None:
        self.records += self.late
        self.late = []


@st.composite
def plays(draw: st.DrawFn) -> Play:
    play = Play(draw)
    acts = {
        "commit": play.commit,
        "die": play.die,
        "lose": play.lose,
        "recover": play.recover,
        "rewind": play.rewind,
        "wake": play.wake,
    }
    for act in draw(st.lists(st.sampled_from([*acts, "commit"]), max_size=14)):
        acts[act]()
    play.commit()
    play.wake()
    return play


@given(plays())
def test_whatever_was_told_of_its_rewinds_the_chain_is_the_one_that_leads_to_head(play: Play):
    assert standing(read_chain(play.records)) == list(enumerate(play.heads))[1:]


def committed(version: int, hash: str, parent: str, rows: list[int]) -> ev.Committed:
    work = [{"site": "texas", "tokens": 100, "steps": 4, "rows": [rows], "open": []}]
    return ev.Committed(
        version=version,
        hash=hash,
        parent=parent,
        tokens=100 * version,
        rows=rows[1],
        work=work,
        joiners=[],
        loss=3.0,
        bytes_sent=0,
        stall_s=0.0,
    )


def test_a_run_whose_rewind_nobody_told_of_is_reported_whole(tmp_path: Path):
    clock = SetClock()

    def write(process: str, t: float, *told: tuple[int, ev.Event]) -> None:
        clock.t = t
        with EventLog(tmp_path, site="texas", process=process, clock=clock) as log:
            for number, event in told:
                log.place(epoch=number)
                log.emit(event)

    start = ev.RunStarted(run="dark", seed=1, start="2026-03-21T17:00:00+00:00", rows=24, virtual=True)
    write("agent.1", 0.0, (0, site_started()), (0, start))
    write("rank0.1", 3600.0, (1, ev.EpochFormed(members=["texas"], reason="founded")))
    write("rank0.2", 3600.0, (1, committed(1, "aa", "", [0, 8])), (1, committed(2, "bb", "aa", [8, 20])))
    write("rank0.3", 7200.0, (3, ev.Joined(version=1, how="resumed", wall_s=1.0)))
    write("rank0.4", 10800.0, (3, committed(2, "cc", "aa", [8, 24])))
    write("rank0.5", 10800.0, (3, ev.RunFinished(version=2, hash="cc", tokens=200)))
    summary = summarize([tmp_path])
    assert summary["finished"]
    assert summary["state_hash"] == "cc"
    rows = {"total": 24, "trained": 24, "lost": 0, "untold": 0, "duplicated": 0, "discarded": 12}
    assert summary["rows"] == rows
    assert summary["sites"]["texas"]["lost_steps"] == 4
