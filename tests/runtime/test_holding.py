from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from line import Line
from versions import KEYS, WAIT_S, Setting, with_record

from curtail_dist.config import RunConfig
from curtail_dist.errors import PeerLost
from curtail_dist.membership.effects import Done, Encode, Held, Load, Pull, Secure, TakeKept
from curtail_dist.membership.records import Epoch, Member, Presence, Work
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.holding import Holding
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.intrasite import OneRank
from curtail_dist.runtime.order import Order, carry_out
from curtail_dist.runtime.prefetch import Prefetch
from curtail_dist.security import PlainWire
from curtail_dist.state import inner, snapshot
from curtail_dist.state.transfer import StateServer
from curtail_dist.state.version import Version

DONE = Done(work=Work(site="a", tokens=512, steps=3, rows=((0, 4),), open=((4, 17),)), seconds=1.25)


KEPT = replace(DONE, ahead=((4, 5),))
"""The row that was begun stays with the site."""


class Time:
    """Run time as the test sets it."""

    seconds = 0.0

    def now(self):
        return self.seconds


@pytest.fixture
def setting(tmp_path):
    setting = Setting(str(tmp_path / "run" / "snapshots"), tmp_path)
    yield setting
    setting.close()


@pytest.fixture
def hold(setting, tmp_path):
    """Make what a process of site a holds, of a model that starts the same each time."""
    config = RunConfig.from_mapping(
        {
            "run": {"name": "r", "directory": str(tmp_path / "run")},
            "sites": {
                "a": {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 1.0, "idle_w": 0.5}}
            },
            "data": {"manifest": str(tmp_path / "manifest.json")},
            "train": {"warmup_steps": 4},
            "state": {"inner_max_age_s": 60.0},
        }
    )

    def hold(**more):
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        outer = DiLoCo(None, model, optimizer, sync_every=1000)
        return Holding(
            config=config,
            site="a",
            outer=outer,
            inner=InnerState(config, "a", OneRank(), outer),
            wire=PlainWire(),
            snapshots=setting.keeper,
            clock=Time(),
            progress=more.pop("progress", lambda: None),
            **more,
        )

    return hold


@pytest.fixture
def serve():
    """Serve a version in chunks of one number; return the server, or a line to it with what is asked."""
    with ExitStack() as stack:

        def serve(version, **how):
            server = StateServer(
                run="r", host="127.0.0.1", wire=PlainWire(), current=lambda: version, chunk_bytes=4
            )
            stack.enter_context(server)
            return stack.enter_context(closing(Line(server.port, **how))) if how else server

        yield serve


@pytest.fixture
def prefetch(setting, hold):
    """Make the prefetch of a process of site a."""
    with ExitStack() as stack:

        def prefetch():
            made = Prefetch(setting.store, hold().config, site="a", wire=PlainWire())
            stack.callback(made.close)
            made.start()
            return made

        yield prefetch


def as_member(server):
    """Return the member of a site b whose state server this is."""
    return Member(site="b", incarnation="b", host="127.0.0.1", group_port=1, state_port=server.port)


def following(holding):
    """Return another version of what a process holds, and its record."""
    state = holding.outer.state
    return with_record(Version(number=3, tensors={name: one + 1 for name, one in state.tensors.items()}))


def order(holding):
    """What the ranks are told after what was thrown away."""
    return Order(head=None, members=1, now=0.0, forget_inner=holding.take_spoiled())


def train(holding):
    """Take inner steps; return the record of the version they stand on."""
    optimizer = holding.outer.inner
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return with_record(holding.outer.state)[1]


def test_the_round_that_was_kept_is_handed_over_on_its_base_by_the_next_process(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    payload = before.outer.encode((0,))
    assert payload.any()
    after = hold()
    assert after.take_kept(TakeKept(head)) == (KEPT, head.version)
    assert after.encode(Encode((0,)))
    assert torch.equal(after.payload, payload), "and not what this process trained, which is nothing"


def test_what_was_trained_while_the_exchange_was_under_way_is_kept_with_the_round(hold):
    before = hold(flying=lambda: Work(site="a", tokens=40, steps=1, rows=((4, 6),), open=((6, 3),)))
    head = train(before)
    assert before.encode(Encode((0,)))
    train(before)
    before.secure(Secure(DONE, head, head.version))
    after = hold()
    kept, _ = after.take_kept(TakeKept(head))
    assert kept.work == Work(site="a", tokens=552, steps=4, rows=((0, 6),), open=((6, 3),))
    after.encode(Encode((0,)))
    assert torch.equal(after.payload, before.outer.encode((0,)))


def test_a_kept_round_outlives_a_process_that_dies_before_it_hands_it_over(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    assert hold().take_kept(TakeKept(head)) == (KEPT, head.version)
    assert hold().take_kept(TakeKept(head)) == (KEPT, head.version)
    moved = replace(head, hash="0" * 64)
    assert hold().take_kept(TakeKept(moved)) is None
    assert hold().take_kept(TakeKept(head)) is None, "it was deleted when head had moved on"


def test_a_kept_round_does_not_count_on_another_version(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    after = hold()
    assert after.take_kept(TakeKept(replace(head, hash="0" * 64))) is None
    assert after.take_kept(TakeKept(head)) is None, "the run went on without it: its rows are others' by now"
    after.encode(Encode((0,)))
    assert not after.payload.any()


def test_the_kept_payload_stands_for_one_round_only(hold):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    after = hold()
    after.take_kept(TakeKept(head))
    after.encode(Encode((0,)))
    after.reset()
    after.encode(Encode((0,)))
    assert not after.payload.any()


def test_a_torn_round_is_not_handed_over(hold, tmp_path):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    (path,) = (tmp_path / "run" / "open").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert hold().take_kept(TakeKept(head)) is None


def test_a_round_without_a_step_is_not_kept(hold, tmp_path):
    before = hold()
    head = with_record(before.outer.state)[1]
    before.secure(Secure(Done(work=Work(site="a", tokens=0, steps=0, rows=())), head, head.version))
    assert not (tmp_path / "run" / "open").exists()
    assert hold().take_kept(TakeKept(head)) is None


def test_what_is_secured_is_the_version_and_the_inner_state_too(hold, setting):
    before = hold()
    head = train(before)
    before.secure(Secure(DONE, head, head.version))
    assert setting.keeper.load(head.version, head.hash).version.hash == head.hash
    after = hold()
    after.inner.resume(now=after.clock.now())
    assert after.outer.warmup == 1.0
    momentum = [state["momentum_buffer"] for state in after.outer.inner.state.values()]
    assert len(momentum) == 2
    assert all(torch.equal(one, torch.ones_like(one)) for one in momentum)


def test_a_place_of_snapshots_out_of_reach_costs_neither_the_round_nor_the_inner_state(hold, tmp_path):
    before = hold()
    head = train(before)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "snapshots").write_text("no folder")
    with pytest.raises(OSError, match="snapshots"):
        before.secure(Secure(DONE, head, head.version))
    after = hold()
    assert after.take_kept(TakeKept(head)) == (KEPT, head.version)
    path = tmp_path / "run" / "inner" / "a.safetensors"
    assert inner.load(path, after.outer.inner, now=0.0, max_age_s=1.0) == 0.0


def test_an_inner_state_that_the_disk_does_not_take_costs_neither_the_round_nor_the_version(
    hold, setting, tmp_path, caplog
):
    before = hold()
    head = train(before)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "inner").write_text("no folder")
    before.secure(Secure(DONE, head, head.version))
    assert "the inner optimizer's state is not kept in" in caplog.text
    assert setting.keeper.load(head.version, head.hash).version.hash == head.hash
    assert hold().take_kept(TakeKept(head)) == (KEPT, head.version)


def test_a_site_that_was_away_for_too_long_warms_up_with_a_fresh_inner_state(hold):
    before = hold()
    train(before)
    before.inner.keep(at=before.clock.now())
    after = hold()
    after.clock.seconds = 60.5
    after.inner.resume(now=after.clock.now())
    assert not after.outer.inner.state
    assert after.outer.warmup == pytest.approx(1 / 5)


@pytest.mark.parametrize(("away_s", "kept"), [(59.5, 2), (60.5, 0)])
def test_a_process_that_was_parked_goes_on_with_the_state_it_has_unless_that_is_too_old(hold, away_s, kept):
    earlier, holding = hold(), hold()
    train(earlier)
    earlier.inner.keep(at=1.0)  # what is on the disk is of an earlier absence
    train(holding)
    train(holding)
    mine = deepcopy(holding.outer.inner.state_dict()["state"])
    told = replace(order(holding), now=2.0 + away_s, resume_inner=True, left_at=2.0)
    carry_out(told, OneRank(), holding.outer, holding.inner)
    assert len(holding.outer.inner.state) == kept
    assert holding.outer.warmup == pytest.approx(1.0 if kept else 1 / 5)
    for number, state in holding.outer.inner.state_dict()["state"].items():
        assert torch.equal(state["momentum_buffer"], mine[number]["momentum_buffer"])


@pytest.mark.parametrize("where", ["in what was trained", "in the state alone"])
def test_what_is_thrown_away_for_numbers_that_are_not_finite_takes_the_inner_state_with_it(hold, where):
    holding = hold()
    train(holding)
    parameter = holding.outer.local[0]
    if where == "in what was trained":
        with torch.no_grad():
            parameter[0] = float("nan")
    else:  # others' commit has set the parameters to finite ones since
        holding.outer.inner.state[parameter]["momentum_buffer"][0] = float("nan")
    assert holding.encode(Encode((0,))) == (where == "in the state alone")
    holding.reset()
    carry_out(order(holding), OneRank(), holding.outer, holding.inner)
    assert not holding.outer.inner.state
    assert holding.outer.warmup == pytest.approx(1 / 5)
    train(holding)
    assert holding.encode(Encode((0,)))


def test_what_is_thrown_away_for_another_reason_leaves_the_inner_state(hold):
    holding = hold()
    train(holding)
    assert holding.encode(Encode((0,)))
    holding.reset()
    carry_out(order(holding), OneRank(), holding.outer, holding.inner)
    assert len(holding.outer.inner.state) == 2
    assert holding.outer.warmup == 1.0


def test_an_inner_state_that_was_forgotten_is_not_kept_with_the_same_order(hold, tmp_path):
    holding = hold()
    train(holding)
    holding.outer.inner.state[holding.outer.local[0]]["momentum_buffer"][0] = float("nan")
    holding.reset()
    carry_out(replace(order(holding), keep_inner=True), OneRank(), holding.outer, holding.inner)
    assert not (tmp_path / "run" / "inner").exists(), "a fresh one would be taken for warm"


def test_a_pull_that_broke_off_goes_on_from_there_when_it_is_asked_for_again(hold, serve):
    chunks = []
    holding = hold(progress=lambda: chunks.append(1))
    version, record = following(holding)
    with pytest.raises(PeerLost):
        holding.pull(Pull([as_member(serve(version, allowed=300, cuts=True))], record))
    before = len(chunks)
    assert 0 < before < 8
    holding.pull(Pull([as_member(serve(version))], record))
    assert holding.held(Held()) == record.hash
    assert len(chunks) == 8, "each was pulled once"


def test_what_came_of_a_pull_is_let_go_once_a_version_is_adopted(hold, serve, setting):
    chunks = []
    holding = hold(progress=lambda: chunks.append(1))
    version, record = following(holding)
    with pytest.raises(PeerLost):
        holding.pull(Pull([as_member(serve(version, allowed=300, cuts=True))], record))
    snapshot.write(setting.url, version, record)
    assert holding.load(Load(3, record.hash)) == record
    chunks.clear()
    holding.pull(Pull([as_member(serve(version))], record))
    assert len(chunks) == 8


def live(setting, server, record):
    """Have site b live with this server, at this head."""
    member = as_member(server)
    setting.store.put(KEYS.member("b"), Presence(member=member).encode())
    setting.store.put(KEYS.epoch, Epoch(number=1, members=(member,), reason="founded").encode())
    setting.store.put(KEYS.head, record.encode())


def test_what_was_fetched_ahead_is_adopted_without_a_member_or_a_disk(hold, serve, setting, prefetch):
    version, record = following(hold())
    line = serve(version, allowed=10**6)
    live(setting, line, record)
    for get, told in (
        (lambda one: one.pull(Pull([], record)), None),
        (lambda one: one.load(Load(3, record.hash)), record),
    ):
        line.hung_up.clear()
        holding = hold(prefetch=prefetch())
        assert line.hung_up.wait(WAIT_S)
        assert get(holding) == told
        assert holding.held(Held()) == record.hash
        assert holding.prefetch is None


def test_what_was_not_fetched_ahead_is_got_the_ordinary_way_and_ends_the_fetching(
    hold, serve, setting, prefetch
):
    version, record = following(hold())
    snapshot.write(setting.url, version, record)
    newer = with_record(replace(version, number=4))
    line = serve(newer[0], allowed=10**6)
    live(setting, line, newer[1])
    for get in (
        lambda one: one.pull(Pull([as_member(serve(version))], record)),
        lambda one: one.load(Load(3, record.hash)),
    ):
        line.hung_up.clear()
        ahead = prefetch()
        holding = hold(prefetch=ahead)
        assert line.hung_up.wait(WAIT_S)
        get(holding)
        assert holding.held(Held()) == record.hash
        assert holding.prefetch is None
        assert ahead.take(4, newer[1].hash) is None
