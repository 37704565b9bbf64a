from datetime import UTC, datetime, timedelta

from curtail_dist.report.audit import count_rows
from curtail_dist.report.chain import Chain, Commit, Dropped, read_chain
from curtail_dist.report.discards import Discard, discards_of
from curtail_dist.telemetry.record import Record

START = datetime(2026, 1, 1, tzinfo=UTC)


def say(t: float, event: str, *, process: str = "rank0.1", site: str = "texas", **fields) -> Record:
    wall = START + timedelta(seconds=t)
    return Record(
        event=event, site=site, epoch=1, round=1, t=t, wall=wall, seq=int(t), process=process, fields=fields
    )


def trained(t: float = 10.0, process: str = "rank0.1") -> list[Record]:
    return [
        say(t, "joined", process=process, version=3),
        say(t + 1, "round_started", process=process, steps=5, rows=[[0, 20]]),
        say(t + 2, "step", process=process, steps=2, rows=8, tokens=1, loss=1.0),
        say(t + 4, "step", process=process, steps=2, rows=16, tokens=1, loss=1.0),
    ]


def died(t: float) -> Record:
    return say(t, "ranks_died", process="agent.9", reason="SIGKILL")


def version(number: int, *sites: str) -> Commit:
    work = tuple({"site": site, "tokens": 1, "steps": 4, "rows": [[0, 16]]} for site in sites)
    return Commit(version=number, t=15.0, hash=f"h{number}", tokens=1, rows=16, work=work)


def chain(*commits: Commit) -> Chain:
    return Chain(commits=commits)


def test_a_killed_site_loses_its_steps_since_its_last_version():
    lost = discards_of("texas", [*trained(), died(16.0)], Chain())
    assert lost == (Discard(begun=11.0, t=16.0, steps=4, rows=16, killed=True),)


def test_the_open_round_of_a_site_that_still_trains_is_not_lost():
    assert discards_of("texas", trained(), Chain()) == ()


def test_a_process_that_came_back_shows_that_the_one_before_it_was_killed():
    records = [*trained(), *trained(20.0, process="rank0.2")]
    assert [(d.steps, d.killed) for d in discards_of("texas", records, Chain())] == [(4, True)]


def test_a_site_that_never_came_back_has_lost_its_round_when_the_run_finishes():
    assert [d.rows for d in discards_of("texas", trained(), Chain(ends=(30.0,)))] == [16]


def test_a_drained_or_committed_round_is_not_lost():
    commit = say(15.0, "commit", version=4, hash="h4", work=[{"site": "texas"}])
    assert discards_of("texas", [*trained(), commit, died(16.0)], Chain()) == ()
    assert discards_of("texas", [*trained(), say(15.0, "drained", version=3), died(16.0)], Chain()) == ()


def test_a_site_killed_between_the_commit_and_its_record_has_lost_nothing():
    records = [*trained(), died(16.0)]
    assert discards_of("texas", records, chain(version(4, "texas", "california"))) == ()
    assert len(discards_of("texas", records, chain(version(4, "california")))) == 1


def test_rows_redone_by_the_sites_next_process_do_not_excuse_the_killed_one():
    redone = [
        *trained(20.0, process="rank0.2"),
        say(25.0, "commit", process="rank0.2", version=4, hash="h4", work=[{"site": "texas"}]),
    ]
    lost = discards_of("texas", [*trained(), died(16.0), *redone], chain(version(4, "texas")))
    assert [d.steps for d in lost] == [4]


def test_a_living_site_that_discards_its_round_says_so_itself():
    expelled = say(15.0, "round_discarded", steps=5, rows=20, reason="expelled")
    lost = discards_of("texas", [*trained(), expelled, died(40.0)], Chain())
    assert lost == (Discard(begun=11.0, t=15.0, steps=5, rows=20, killed=False),)


def test_a_round_that_its_own_version_does_not_list_is_lost():
    commit = say(15.0, "commit", version=4, hash="h4", work=[{"site": "california"}])
    lost = discards_of("texas", [*trained(), commit], Chain())
    assert lost == (Discard(begun=11.0, t=15.0, steps=4, rows=16, killed=False),)


def test_a_round_that_ended_without_a_version_is_lost():
    again = say(15.0, "round_started", steps=5, rows=[[0, 20]])
    lost = discards_of("texas", [*trained(), again], Chain())
    assert [(d.steps, d.t) for d in lost] == [(4, 15.0)]


def test_a_round_that_was_discarded_before_the_version_came_counts_once():
    told = say(15.0, "round_discarded", steps=5, rows=20, reason="committed without this site")
    commit = say(15.0, "commit", version=4, hash="h4", work=[{"site": "california"}])
    assert [d.steps for d in discards_of("texas", [*trained(), told, commit], Chain())] == [5]


def test_work_of_a_version_that_a_rewind_dropped_is_lost_when_the_rewind_was_told():
    dropped = Chain(dropped=(Dropped(commit=version(4, "texas"), t=20.0),))
    commit = say(15.0, "commit", version=4, hash="h4", work=[{"site": "texas"}])
    lost = discards_of("texas", [*trained(), commit], dropped)
    assert lost == (Discard(begun=20.0, t=20.0, steps=4, rows=16, killed=False),)
    assert discards_of("california", [commit], dropped) == ()


def test_work_of_a_dropped_version_is_lost_once_though_its_site_was_killed_before_it_recorded_it():
    dropped = (Dropped(commit=version(4, "texas", "california"), t=20.0),)
    again = say(40.0, "commit", process="rank0.2", version=4, hash="again", work=[{"site": "texas"}])
    lost = discards_of("texas", [*trained(), died(16.0), again], Chain(dropped=dropped))
    assert [(discard.t, discard.steps, discard.killed) for discard in lost] == [(20.0, 4, False)]


def test_work_that_was_pending_when_its_site_was_lost_is_lost_when_a_version_says_so():
    def told(t, number, returned=(), **rows):
        work = [{"site": site, "tokens": 1, "steps": 4, "rows": [span]} for site, span in rows.items()]
        fields = {"version": number, "hash": f"h{number}", "work": work, "returned": list(returned)}
        return say(t, "commit", site="california", tokens=1, rows=16, **fields)

    records = [
        told(15.0, 4, california=[0, 8], texas=[8, 24]),
        told(20.0, 5, [[4, "texas"]], california=[24, 32]),
        told(25.0, 6, california=[8, 24]),
    ]
    chain = read_chain(records)
    lost = [(one.t, one.steps, one.rows) for one in discards_of("texas", records, chain)]
    assert lost == [(20.0, 4, 16)]
    assert [sorted(one.contributors) for one in chain.commits] == [["california"]] * 3
    rows = count_rows(chain.commits, total=32, finished=True)
    assert (rows.trained, rows.duplicated, rows.lost) == (32, 0, 0)
