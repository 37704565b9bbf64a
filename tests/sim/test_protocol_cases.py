"""The cases that the protocol was built for, one by one; each test shows that its case really came about."""

import pytest

from curtail_dist.errors import StoreUnavailable
from curtail_dist.membership.effects import Pull, Train, Transact
from curtail_dist.membership.records import Epoch
from curtail_dist.sim.setting import KEYS, Fault

pytestmark = pytest.mark.fault


def epochs_tried(played, reason):
    """(process, epoch, whether it was written) for each try to write an epoch of this reason."""
    tried = []
    for who, effect, result in played.asked:
        if isinstance(effect, Transact) and KEYS.epoch in effect.puts:
            epoch = Epoch.decode(effect.puts[KEYS.epoch])
            if epoch.reason == reason:
                tried.append((who, epoch, getattr(result, "succeeded", None)))
    return tried


def test_without_faults_no_step_is_lost_and_nobody_is_left_out(case):
    played = case(sites=3)
    assert played.of("lost") == []
    assert {reason for reason, _ in played.epochs()} == {"founded", "joined"}
    assert sorted(played.who("exited")) == ["ada/1", "bea/1", "cyd/1"]


def test_sites_that_found_at_once_make_one_run(case):
    played = case(sites=3)
    tried = epochs_tried(played, "founded")
    assert len({who for who, _, _ in tried}) > 1
    assert [succeeded for _, _, succeeded in tried].count(True) == 1


def test_a_founder_that_cannot_reach_heads_snapshot_refuses_and_another_resumes(case):
    dark = Fault(kind="kill_all", at=6.0, site="ada", lasts=1.0)
    late = Fault(kind="kill", at=6.001, site="ada", lasts=9.0)
    played = case(
        faults=(dark, late),
        url={"ada": "at-ada", "bea": "at-bea"},
        rules={"unreachable": "refuse"},
        starts={"ada": 0.0, "bea": 20.0},
    )
    assert "StateError" in {played.ended(who) for who in played.who("ended") if who.startswith("bea")}
    assert {members for reason, members in played.epochs() if reason == "resumed"} == {("ada/2",)}


def test_a_founder_may_wait_for_the_site_that_has_the_snapshot(case):
    faults = (
        Fault(kind="kill_all", at=6.0, site="ada", lasts=0.2),
        Fault(kind="drain", at=6.001, site="ada", lasts=15.0),
    )
    played = case(faults=faults, url={"ada": "at-ada", "bea": "at-bea"}, rules={"unreachable": "wait"})
    killed = played.of("killed")[0].at
    resumed = next(one for one in played.chain.epochs if one.epoch.reason == "resumed")
    assert resumed.writer == "ada/2"
    assert resumed.at > killed + 14
    assert "bea/2" in played.who("started")
    assert not [one for one in played.of("ended") if "StateError" in str(one.what)]


def test_the_run_rewinds_to_the_parent_where_heads_snapshot_was_unfinished(case):
    dark = Fault(kind="kill_all", at=5.0, site="ada", lasts=1.0, effect="Swap")
    played = case(faults=(dark,), rules={"durable_before_commit": False})
    rewound = next(head for head in played.chain.heads if head.moved and head.before is not None)
    assert rewound.before.parent == rewound.commit.hash
    assert "rewound" in [reason for reason, _ in played.epochs()]


def test_with_durable_before_commit_the_same_death_costs_no_commit(case):
    dark = Fault(kind="kill_all", at=5.0, site="ada", lasts=1.0, effect="Swap")
    played = case(faults=(dark,), rules={"durable_before_commit": True})
    assert "resumed" in [reason for reason, _ in played.epochs()]
    assert "rewound" not in [reason for reason, _ in played.epochs()]


def test_a_zombie_with_a_newer_version_of_a_dead_chain_drops_it(case):
    faults = (
        Fault(kind="hang", at=5.0, site="ada", lasts=25.0, effect="Announce"),
        Fault(kind="kill", at=5.0, site="bea", lasts=1.0, effect="Swap"),
    )
    played = case(faults=faults, rules={"durable_before_commit": False})
    rewound = next(head for head in played.chain.heads if head.moved and head.before is not None)
    dead, woke = rewound.before, played.of("woke")[0]
    stood = [(one.at, one.what.hash) for one in played.of("stand") if one.who == "ada/1"]
    assert [hash for at, hash in stood if at < woke.at][-1] == dead.hash
    assert rewound.at < woke.at
    final = played.outcome.world.states[played.chain.heads[-1].commit.hash]
    alive = {state.hash for state in final.chain()}
    assert dead.hash not in alive
    assert [hash for at, hash in stood if at > woke.at]
    assert {hash for at, hash in stood if at > woke.at} <= alive


def test_two_sites_that_resume_at_once_make_one_epoch(case):
    dark = tuple(Fault(kind="kill", at=5.0, site=site, lasts=1.0) for site in ("ada", "bea"))
    # Its first transaction is about the run's identity, the second takes the epoch.
    slow = Fault(kind="hang", at=5.5, site="bea", lasts=1.5, effect="Transact", nth=2)
    ties = 0
    for seed in range(6):
        tried = epochs_tried(case(faults=(*dark, slow), seed=seed), "resumed")
        first = [(who, succeeded) for who, epoch, succeeded in tried if epoch.number == 3]
        assert [succeeded for _, succeeded in first].count(True) == 1
        ties += {who for who, _ in first} == {"ada/2", "bea/2"}
    assert ties


def test_a_commit_whose_answer_was_lost_is_written_once(case):
    mute = Fault(kind="mute", at=4.0, site="ada", effect="Transact", phase="during")
    played = case(faults=(mute,))
    lost = [
        (effect, result)
        for who, effect, result in played.asked
        if isinstance(effect, Transact) and isinstance(result, StoreUnavailable)
    ]
    assert len(lost) == 1
    value = lost[0][0].puts[KEYS.head]
    written = [one for one in played.of("write") if one.what.value == value]
    assert len(written) == 1
    assert played.of("lost") == []


def test_of_a_parted_epoch_the_largest_connected_set_goes_on(case):
    cut = Fault(kind="cut", at=6.0, site="ada", other="cyd", lasts=20.0)
    played = case(sites=3, faults=(cut,))
    parted = next(one for one in played.chain.epochs if one.at > 6.0 and len(one.epoch.members) == 2)
    assert parted.epoch.sites == ["ada", "bea"]
    assert "cyd/1" not in [one.who for one in played.of("exited") if one.at < parted.at]
    back = next(one for one in played.chain.epochs if one.at > parted.at and "cyd" in one.epoch.sites)
    assert back.at > 26.0
    assert [head for head in played.chain.heads if parted.at < head.at < back.at]


def test_a_drainer_that_dies_while_it_leaves_costs_the_others_nothing(case):
    faults = (
        Fault(kind="drain", at=5.0, site="ada", lasts=10.0),
        Fault(kind="kill", at=5.0, site="ada", lasts=9.0, effect="Announce"),
    )
    played = case(faults=faults)
    killed = played.of("killed")[0]
    drained = next(one for one in played.of("write") if one.what.key == KEYS.drain("ada"))
    assert drained.at < killed.at
    assert killed.who == "ada/1"
    assert played.lost("bea/1") == 0
    after = next(one for one in played.chain.epochs if one.at > killed.at)
    assert after.epoch.sites == ["bea"]


def test_a_joiner_that_dies_when_it_is_admitted_costs_the_others_nothing(case):
    dies = Fault(kind="kill", at=0.0, site="bea", lasts=5.0, effect="Form")
    played = case(faults=(dies,), starts={"ada": 0.0, "bea": 2.0})
    assert played.who("killed") == ["bea/1"]
    reasons = played.epochs()
    admitted = reasons.index(("joined", ("ada/1", "bea/1")))
    assert reasons[admitted + 1] == ("lost", ("ada/1",))
    assert played.lost("ada/1") == 0


def test_a_newer_process_of_a_site_takes_the_place_of_the_older(case):
    twice = Fault(kind="supersede", at=6.0, site="bea", lasts=8.0)
    played = case(faults=(twice,))
    assert played.ended("bea/1") == "Superseded"
    assert any("bea/2" in members for _, members in played.epochs())
    assert played.lost("ada/1") == 0


def test_where_all_drain_at_once_the_next_day_begins_at_head(case):
    night = Fault(kind="drain_all", at=5.0, site="ada", lasts=15.0)
    played = case(sites=3, faults=(night,), rules={"durable_before_commit": False})
    left = [one for one in played.of("ended") if one.at < 15.0]
    assert len(left) == 3
    assert played.of("lost") == []
    resumed = next(one for one in played.chain.epochs if one.epoch.reason == "resumed")
    assert resumed.at > left[-1].at
    assert not [head for head in played.chain.heads if head.moved and head.before is not None]


def test_an_outage_within_the_bound_ends_nothing_and_costs_no_step(case):
    gone = Fault(kind="outage", at=5.0, site="ada", lasts=9.0)
    played = case(faults=(gone,))
    during = [one for one in played.of("trained") if 5.0 < one.at < 14.0]
    assert during
    assert sorted(played.who("exited")) == ["ada/1", "bea/1"]
    assert played.of("lost") == []


def test_a_store_that_is_gone_for_good_ends_the_run_cleanly_and_its_round_is_taken_up_again(case):
    gone = Fault(kind="outage", at=5.0, site="ada", lasts=30.0)
    played = case(sites=1, faults=(gone,))
    ended = played.of("ended")[0]
    assert played.ended("ada/1") == "StoreUnavailable"
    assert ended.at - 5.0 >= 12.0
    kept, taken = played.of("kept"), played.of("taken up")
    assert [one.what for one in kept] == [one.what for one in taken] != []
    assert played.lost("ada/1") == 0


def test_survivors_send_the_same_payload_again(case):
    dies = Fault(kind="kill", at=5.0, site="cyd", lasts=20.0, effect="GatherPayloads", phase="during")
    played = case(sites=3, faults=(dies,))
    killed = played.of("killed")[0]
    assert played.lost("ada/1") == played.lost("bea/1") == 0
    assert any(one.epoch.reason == "lost" for one in played.chain.epochs)
    after = next(head for head in played.chain.heads if head.at > killed.at)
    assert [work.site for work in after.commit.work] == ["ada", "bea"]


def test_a_parked_site_comes_back_without_a_new_process(case):
    night = Fault(kind="drain", at=5.0, site="bea", lasts=8.0)
    played = case(faults=(night,), rules={"park_s": 30.0})
    assert [who for who in played.who("started") if who.startswith("bea")] == ["bea/1"]
    left = next(one for one in played.chain.epochs if one.epoch.reason == "left")
    assert any("bea" in one.epoch.sites for one in played.chain.epochs if one.at > left.at)


def test_a_late_adopter_plans_the_round_as_those_who_saw_the_commit(case):
    """One member may train on while others still regroup: no row may be taken by two of them."""
    overlapping = 0
    for seed in range(60):
        dies = Fault(kind="kill", at=4.0, site="cyd", lasts=20.0, effect="GatherVotes", phase="during")
        played = case(
            sites=4, faults=(dies,), seed=seed, step_s={"ada": 0.9, "bea": 0.3, "cyd": 0.3, "dan": 0.3}
        )
        killed = played.of("killed")[0].at
        trains = [effect for _, effect, _ in played.asked if isinstance(effect, Train)]
        by_base = {}
        for train in trains:
            by_base.setdefault(train.head.hash, set()).add(train.epoch.number)
        overlapping += any(len(epochs) > 1 for epochs in by_base.values())
        assert killed
    assert overlapping, "all members always saw the same epoch"


def test_a_joiner_pulls_from_a_member_and_counts_nothing_of_it(case):
    played = case(starts={"ada": 0.0, "bea": 4.0})
    assert next(who for who, effect, _ in played.asked if isinstance(effect, Pull)) == "bea/1"
    joined = next(one for one in played.chain.epochs if one.epoch.reason == "joined")
    first = next(head for head in played.chain.heads if head.at > joined.at)
    assert [work.site for work in first.commit.work] == ["ada"]
    assert first.commit.joiners == ("bea",)
