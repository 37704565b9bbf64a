"""Plans that every agent makes for itself: alike from the same outlooks, and as good as one plan for all."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hand import eventually
from hypothesis import given, settings
from hypothesis import strategies as st

from curtail_dist.config import PolicyConfig, RunConfig
from curtail_dist.coordination import MemoryStore
from curtail_dist.coordination.store import Entry
from curtail_dist.energy.course import Course, Rhythm
from curtail_dist.energy.emissions import Grid, PowerModel, account
from curtail_dist.energy.planner import Planner
from curtail_dist.energy.policy import build_policy
from curtail_dist.energy.rehearsal import Manner, Rehearsal
from curtail_dist.energy.signals import Reading
from curtail_dist.energy.stages import Move, Stage, Standing, draining, gone, polled, started, up
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.synthetic import solar_heavy, wind_heavy
from curtail_dist.membership.agent.foreseeing import Foreseer
from curtail_dist.membership.agent.outlook import Outlook
from curtail_dist.membership.agent.planning import Own, Plans, plan, read_outlooks
from curtail_dist.membership.agent.progress import RunProgress
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Work
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Planned

KEYS = Keys("day")
START = datetime(2026, 3, 21, 17, 0, tzinfo=UTC)
POWER = PowerModel(train_w=2024.0, idle_w=468.0, join_w=468.0, sync_w=468.0)
DAY = 86400.0


class Log:
    """What would go on record."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def emit(self, event: object) -> None:
        self.events.append(event)

    @property
    def last(self) -> Planned:
        event = self.events[-1]
        assert isinstance(event, Planned)
        return event


class Town:
    """Agents' plans over one store, without the agents."""

    def __init__(self, config: RunConfig, pasts: dict[str, StepFunction]) -> None:
        self.config = config
        self.entries: dict[str, Entry] = {}
        self.logs = {name: Log() for name in config.sites}
        self.plans = {
            name: Plans(
                config,
                name,
                publish=lambda value, name=name: self.put(KEYS.outlook(name), value),
                events=self.logs[name],  # pyright: ignore[reportArgumentType]
                foreseer=Foreseer(config, name, past=pasts.get(name)),
            )
            for name in config.sites
        }

    def put(self, key: str, value: bytes) -> None:
        self.entries = {**self.entries, key: Entry(key=key, value=value, revision=len(self.entries) + 1)}

    @property
    def view(self) -> View:
        return View(keys=KEYS, entries=self.entries)


def run_config(tmp_path, *names: str, **policy) -> RunConfig:
    site = {
        "signal": {"kind": "constant", "value": 1.0},
        "power": {"train_w": 2024.0, "idle_w": 468.0},
        "price": {"per_kwh": 0.1},
    }
    return RunConfig.from_mapping(
        {
            "run": {"name": "day", "directory": str(tmp_path), "deadline_h": 24.0},
            "data": {"manifest": "none.json"},
            "policy": {"kind": "work-price", "poll_s": 300.0, "replan_s": 300.0, "work_h": 10.0, **policy},
            "sites": dict.fromkeys(names, site),
        }
    )


def own(
    value: float | None = 50.0,
    *,
    standing: Standing | None = None,
    barred: bool = False,
    waited_s: float = 0.0,
) -> Own:
    reading = None if value is None else Reading(value=value, measured_at=0.0)
    return Own(standing=standing or Standing(), reading=reading, barred=barred, waited_s=waited_s)


def flat(value: float, *, end: float = DAY) -> StepFunction:
    return StepFunction(edges=(0.0, end), values=(value,))


def outlook(*values: float, made_at: float = 0.0, runs: bool = False) -> Outlook:
    return Outlook(
        made_at=made_at,
        futures=tuple(flat(value) for value in values),
        power=POWER,
        runs=runs,
        joins_s=0.0,
        join_s=300.0,
    )


POLICY = PolicyConfig(kind="work-price", commitment_s=0.0)


def advised(outlooks, *, work_h: float = 12.0, now: float = 0.0):
    return plan(POLICY, outlooks, now=now, deadline_s=DAY, work_s=work_h * 3600.0, efficiency=0.8)


def test_the_cleaner_site_is_wanted_and_the_other_is_not():
    advice = advised({"clean": outlook(50.0), "dirty": outlook(400.0)})
    assert advice.wanted == {"clean": "on", "dirty": "off"}


def test_a_site_without_futures_is_left_out_and_with_none_there_is_nothing_to_want():
    assert "dark" not in advised({"dark": outlook(), "clean": outlook(50.0)}).wanted
    assert advised({"dark": outlook()}).wanted == {}


def test_every_site_is_wanted_where_the_work_does_not_fit_any_more():
    for now in (DAY - 7200.0, DAY, DAY + 7200.0):
        assert set(advised({"a": outlook(50.0), "b": outlook(400.0)}, now=now).wanted.values()) == {"late"}
    assert advised({"a": outlook(50.0)}, now=DAY).price == math.inf


def test_a_site_with_one_future_leaves_the_others_theirs():
    def changing(*later: float) -> Outlook:
        edges = (0.0, 3600.0, DAY)
        futures = (StepFunction(edges=edges, values=(200.0, value)) for value in later)
        return replace(outlook(), futures=tuple(futures))

    many = changing(100.0, 400.0, 300.0)
    one, three = outlook(250.0), outlook(250.0, 250.0, 250.0)
    assert advised({"a": many, "b": one}) == advised({"a": many, "b": three})
    assert advised({"a": many, "b": one}) != advised({"a": changing(100.0), "b": one})
    assert advised({"a": many, "b": changing(90.0, 80.0)}) == advised(
        {"a": changing(100.0, 400.0), "b": changing(90.0, 80.0)}
    )


def test_all_agents_plan_alike_from_what_all_have_published(tmp_path):
    town = Town(run_config(tmp_path, "a", "b", "c"), {})
    values = {"a": 50.0, "b": 200.0, "c": 400.0}
    for now in (0.0, 300.0):
        for name, plans in town.plans.items():
            plans.look(now, town.view, own(values[name]))
    told = [log.last for log in town.logs.values()]
    assert told[0] == told[1] == told[2]
    assert told[0].wanted["c"] == "off"


def test_an_outlook_that_is_too_old_is_left_out(tmp_path):
    town = Town(run_config(tmp_path, "a"), {})
    town.put(KEYS.outlook("gone"), outlook(10.0).encode())
    town.put(KEYS.outlook("garbled"), b"{}")
    policy = town.config.policy
    assert set(read_outlooks(town.view, now=600.0, policy=policy)) == {"gone"}
    assert read_outlooks(town.view, now=601.0, policy=policy) == {}


def test_a_site_that_is_held_or_blind_publishes_that_it_cannot_take_part(tmp_path):
    for state in (own(barred=True), own(None)):
        town = Town(run_config(tmp_path, "a"), {})
        assert town.plans["a"].look(0.0, town.view, state) is None
        assert Outlook.decode(town.entries[KEYS.outlook("a")].value).futures == ()


def test_a_running_site_is_planned_for_without_a_cap_that_nothing_sets(tmp_path):
    config = run_config(tmp_path, "a")
    capped = replace(config.sites["a"].power, capped_w=1000.0, capped_speed=0.8)
    config = replace(config, sites={"a": replace(config.sites["a"], power=capped)})
    town = Town(config, {})
    town.plans["a"].look(0.0, town.view, own())
    assert Outlook.decode(town.entries[KEYS.outlook("a")].value).power.capped_w is None


def test_between_two_plans_the_newest_one_holds(tmp_path):
    town = Town(run_config(tmp_path, "a", replan_s=600.0), {})
    plans = town.plans["a"]
    assert [plans.look(now, town.view, own()) for now in (0.0, 60.0, 300.0, 599.0)] == [
        None,
        "on",
        "on",
        "on",
    ]
    assert len(town.logs["a"].events) == 1
    plans.look(600.0, town.view, own())
    assert len(town.logs["a"].events) == 2


def test_no_site_plans_before_the_store_shows_it_itself_so_none_starts_alone(tmp_path):
    town = Town(run_config(tmp_path, "clean", "dirty"), {})
    town.put(KEYS.outlook("dirty"), outlook(400.0, made_at=-500.0).encode())  # an earlier agent's
    values = {"dirty": 400.0, "clean": 50.0}
    first = {name: town.plans[name].look(0.0, town.view, own(values[name])) for name in values}
    second = {name: town.plans[name].look(60.0, town.view, own(values[name])) for name in values}
    assert (set(first.values()), second) == ({None}, {"dirty": "off", "clean": "on"})


def test_a_silent_store_has_no_site_plan_as_if_the_others_were_gone(tmp_path):
    town = Town(run_config(tmp_path, "clean", "dirty"), {})
    values = {"dirty": 400.0, "clean": 50.0}
    for now in (0.0, 300.0, 600.0):
        for name, value in values.items():
            town.plans[name].look(now, town.view, own(value))
    silent = town.view
    plans = town.plans["dirty"]
    found = {now: plans.look(now, silent, own(400.0)) for now in (900.0, 1200.0, 1500.0, 1501.0, 7200.0)}
    assert found == {900.0: "off", 1200.0: "off", 1500.0: "off", 1501.0: None, 7200.0: None}
    for name, value in values.items():
        town.plans[name].look(7500.0, town.view, own(value))
    assert plans.look(7560.0, town.view, own(400.0)) == "off", "it plans again once the store answers"


def test_a_site_that_comes_or_goes_is_planned_for_at_once(tmp_path):
    town = Town(run_config(tmp_path, "clean", "dirty", replan_s=3600.0), {})
    for now in (0.0, 60.0):
        wanted = town.plans["dirty"].look(now, town.view, own(400.0))
    assert wanted == "on"
    town.plans["clean"].look(120.0, town.view, own(50.0))
    assert town.plans["dirty"].look(180.0, town.view, own(400.0)) == "off"
    del town.entries[KEYS.outlook("clean")]
    assert town.plans["dirty"].look(240.0, town.view, own(400.0)) == "on"


def test_a_held_site_that_is_on_stays_until_the_plan_has_it_leave(tmp_path):
    on = up(started(Standing(), now=0.0), now=1.0)
    town = Town(run_config(tmp_path, "clean", "dirty"), {})
    for now in (0.0, 60.0):
        wanted = {
            "clean": town.plans["clean"].look(now, town.view, own(50.0, standing=on, barred=True)),
            "dirty": town.plans["dirty"].look(now, town.view, own(400.0, standing=on, barred=True)),
        }
    assert wanted == {"clean": "on", "dirty": "off"}


def test_what_changes_whether_a_site_can_take_part_is_published_at_once(tmp_path):
    town = Town(run_config(tmp_path, "a", replan_s=3600.0), {})
    plans = town.plans["a"]
    for now, state, able in ((0.0, own(), True), (60.0, own(barred=True), False), (120.0, own(), True)):
        plans.look(now, town.view, state)
        assert bool(Outlook.decode(town.entries[KEYS.outlook("a")].value).futures) is able


def test_a_site_that_has_come_to_another_stage_says_so_at_once(tmp_path):
    town = Town(run_config(tmp_path, "a", replan_s=600.0), {})
    plans = town.plans["a"]
    plans.look(0.0, town.view, own())
    joining = started(Standing(), now=0.0)
    plans.look(300.0, town.view, own(standing=joining))
    assert Outlook.decode(town.entries[KEYS.outlook("a")].value).runs
    plans.look(400.0, town.view, own(standing=up(joining, now=400.0)))
    assert Outlook.decode(town.entries[KEYS.outlook("a")].value).join_s == 400.0, "a start's time is measured"


def test_what_ranks_waited_for_machines_is_no_part_of_what_a_start_takes(tmp_path):
    town = Town(run_config(tmp_path, "a", replan_s=600.0), {})
    plans = town.plans["a"]

    def published() -> Outlook:
        return Outlook.decode(town.entries[KEYS.outlook("a")].value)

    plans.look(0.0, town.view, own())
    joining = started(Standing(), now=0.0)
    plans.look(7200.0, town.view, own(standing=joining, waited_s=7200.0))
    plans.look(7500.0, town.view, own(standing=up(joining, now=7500.0), waited_s=7200.0))
    assert published().join_s == 300.0

    plans.look(8000.0, town.view, own(waited_s=7200.0))
    plans.look(10000.0, town.view, own(standing=started(Standing(), now=9000.0), waited_s=1000.0))
    assert published().joins_s == 300.0, "as long as they wait they have all of it before them"


def test_plans_are_due_at_whole_multiples_in_utc(tmp_path):
    published: list[bytes] = []
    config = run_config(tmp_path, "a", poll_s=60.0)
    plans = Plans(
        config,
        "a",
        publish=published.append,
        events=Log(),  # pyright: ignore[reportArgumentType]
        foreseer=Foreseer(config, "a"),
        start_s=1_774_094_550.0,  # 12:02:30
    )
    for now in range(0, 901, 30):
        plans.look(float(now), View(keys=KEYS, entries={}), own())
    assert [Outlook.decode(value).made_at for value in published] == [0.0, 150.0, 450.0, 750.0]


def test_a_forecast_stands_in_every_future_as_far_as_it_goes(tmp_path):
    config = run_config(tmp_path, "a")
    expected = [
        Reading(value=value, measured_at=at) for at, value in [(0.0, 50.0), (300.0, 7.0), (600.0, 9.0)]
    ]
    town = Town(config, {})
    town.plans["a"] = Plans(
        config,
        "a",
        publish=lambda value: town.put(KEYS.outlook("a"), value),
        events=Log(),  # pyright: ignore[reportArgumentType]
        foreseer=Foreseer(
            config,
            "a",
            forecast=lambda horizon: expected,
            past=StepFunction(edges=(-3 * DAY, DAY), values=(300.0,)),
        ),
    )
    town.plans["a"].look(0.0, town.view, own(50.0))
    futures = Outlook.decode(town.entries[KEYS.outlook("a")].value).futures
    assert len(futures) == 3
    assert all(
        (future.at(299.0), future.at(300.0), future.at(899.0)) == (50.0, 7.0, 9.0) for future in futures
    )
    assert all(future.at(20 * 3600.0) > 200.0 for future in futures)


@settings(max_examples=30)
@given(st.integers(0, 20), st.data())
def test_an_outlook_survives_its_encoding_to_a_tenth_of_a_gram(pieces, data):
    edges = tuple(300.0 * index for index in range(pieces + 1))
    values = st.lists(st.floats(0.0, 3000.0), min_size=pieces, max_size=pieces)
    series = values.map(lambda found: StepFunction(edges=edges, values=tuple(found)))
    futures = data.draw(st.lists(series, max_size=3 if pieces else 0))
    before = replace(outlook(), futures=tuple(futures))
    after = Outlook.decode(before.encode())
    assert replace(after, futures=()) == replace(before, futures=())
    for found, known in zip(after.futures, before.futures, strict=True):
        assert found.edges == known.edges
        assert found.values == pytest.approx(known.values, abs=0.051)


@pytest.mark.parametrize("days", [1, 7, 21, 365])
def test_an_outlook_stays_small_however_far_the_deadline_and_however_fine_the_price(tmp_path, days):
    config = run_config(tmp_path, "a", g_per_currency=100.0, replan_s=60.0)
    config = replace(config, run=replace(config.run, deadline_h=days * 24.0))
    count = days * 288
    edges = tuple(300.0 * index for index in range(count + 1))
    published: list[bytes] = []
    plans = Plans(
        config,
        "a",
        publish=published.append,
        events=Log(),  # pyright: ignore[reportArgumentType]
        foreseer=Foreseer(
            config,
            "a",
            past=solar_heavy(seed=3, start=START - timedelta(days=9), days=10).series(START),
            price=StepFunction(
                edges=edges, values=tuple(0.1 + 0.001 * (index % 7) for index in range(count))
            ),
        ),
    )
    plans.look(0.0, View(keys=KEYS, entries={}), own())
    (value,) = published
    assert len(Outlook.decode(value).futures) == 7
    assert len(value) < 100_000


def commit(version: int, *sites: str, rows: int, total: int = 1000) -> Commit:
    """A version after which `rows` rows are done, of a step each; a site alone does one every two seconds."""
    return Commit(
        version=version,
        hash=f"h{version}",
        parent=f"h{version - 1}",
        epoch=1,
        total_rows=total,
        done=((0, rows),),
        steps=rows,
        work=tuple(Work(site=site, tokens=1, steps=1, rows=()) for site in sites),
        speeds=dict.fromkeys(sites, 0.5),
    )


def test_what_is_left_is_measured_from_the_commits():
    progress = RunProgress(poll_s=10.0)
    assert progress.left_s() is None
    progress.note(commit(1, "a", rows=0), 0.0)
    assert progress.left_s() is None
    progress.note(commit(2, "a", rows=200), 400.0)
    assert progress.left_s() == pytest.approx(1600.0)


def test_what_a_pair_is_worth_is_measured_over_polls_enough_while_the_same_sites_train():
    progress = RunProgress(poll_s=10.0)
    for version in range(1, 10):
        progress.note(commit(version, "a", "b", rows=8 * version), 10.0 * version)
    assert progress.efficiency is None, "each commit may have been seen a poll late"
    for version in range(10, 200):
        progress.note(commit(version, "a", "b", rows=8 * version), 10.0 * version + 9.0 * (version % 2))
    assert progress.efficiency == pytest.approx(0.8, abs=0.08)
    progress.note(commit(200, "a", rows=1600), 2300.0)
    progress.note(commit(201, "a", rows=1608), 2900.0)
    assert progress.efficiency == pytest.approx(0.8, abs=0.08), "a site alone says nothing of a pair"


def test_all_agents_take_a_pair_to_be_worth_the_same(tmp_path):
    town = Town(run_config(tmp_path, "a", "b", "c", pair_efficiency=0.5), {})
    for number in range(6):
        now = 300.0 * number
        for position, name in enumerate(town.plans):
            if position < 2:  # the third agent has seen no commit yet
                town.plans[name]._progress.efficiency = 0.7 + 0.1 * position if number > 2 else None
            town.plans[name].look(now, town.view, own(50.0))
        if number == 2:
            assert {log.last.efficiency for log in town.logs.values()} == {0.5}
    assert {log.last.efficiency for log in town.logs.values()} == {0.75}


def played(config: RunConfig, grids: dict[str, Grid], *, work_s: float, join_s: float) -> Course:
    """Play the agents' plans over a day: joins take `join_s`, drains nothing, the pair's worth is .8."""
    rhythm = Rhythm(train_s=480.0, sync_s=120.0, join_s=join_s)
    town, course = (
        Town(config, {name: grid.intensity for name, grid in grids.items()}),
        Course(grids, work_s=work_s, rhythm=rhythm),
    )
    policy, total, version = build_policy(config.policy), 10_000, 0
    standing = {name: Standing() for name in grids}
    until = config.run.deadline_h * 3600.0
    while course.now < until and course.finished_at is None:
        now = course.now
        rows = int(course.done_s / work_s * total)
        if rows:
            version += 1
            training = [name for name, one in standing.items() if one.stage is Stage.ON]
            record = commit(version, *training, rows=rows, total=total)
            record = replace(record, speeds=dict.fromkeys(grids, total / work_s))
            town.put(KEYS.head, record.encode())
        for name, grid in grids.items():
            state, reading = standing[name], Reading(value=grid.intensity.at(now), measured_at=now)
            if state.stage.value == "joining" and now - state.since >= join_s:
                state = up(state, now=now)
            wanted = town.plans[name].look(now, town.view, Own(standing=state, reading=reading, barred=False))
            move, _, state = polled(state, policy, reading=reading, now=now, wanted=wanted)
            if move is Move.START:
                state = started(state, now=now)
            elif move is Move.DRAIN:
                state = gone(draining(state, now=now), now=now)
            standing[name] = state
        names = {"joining": "join", "on": "train"}
        phases = {name: names[one.stage.value] for name, one in standing.items() if one.runs}
        course.advance(now + config.policy.poll_s, phases)
    return course


def kg(course: Course, grids: dict[str, Grid]) -> float:
    return sum(
        account(course.played.intervals[name], grid.power, grid.intensity).emissions_kg
        for name, grid in grids.items()
    )


@pytest.mark.parametrize("seed", [5, 6])
def test_plans_of_many_come_to_what_one_plan_for_all_does_and_meet_the_deadline(tmp_path, seed):
    config = run_config(tmp_path, "sun", "wind", pair_efficiency=0.8, replan_s=900.0)
    makers = {"sun": solar_heavy, "wind": wind_heavy}
    grids = {
        name: Grid(
            # Seven days gone by: the planner has as many futures then as agents have.
            intensity=make(seed=seed, start=START - timedelta(days=7), days=9).series(START),
            power=POWER,
        )
        for name, make in makers.items()
    }
    work_s, join_s = 10 * 3600.0, 300.0
    config = replace(config, clock=replace(config.clock, join_s=join_s))
    course = played(config, grids, work_s=work_s, join_s=join_s)
    rhythm = Rhythm(train_s=480.0, sync_s=120.0, join_s=join_s)
    planner = Planner(
        grids,
        policy=config.policy,
        deadline_s=DAY,
        rhythm=rhythm,
        perfect=False,
        histories={name: grid.intensity for name, grid in grids.items()},
    )
    one = Rehearsal(
        dict.fromkeys(grids, build_policy(config.policy)),
        read=lambda name, now: Reading(value=grids[name].intensity.at(now), measured_at=now),
        manner=Manner(poll_s=300.0, rhythm=rhythm),
        work_s=work_s,
        plan=planner.plan,
        replan_s=900.0,
    ).play(DAY)
    assert course.finished_at is not None
    single = sum(
        account(one.played.intervals[name], grid.power, grid.intensity).emissions_kg
        for name, grid in grids.items()
    )
    assert one.played.finished_at is not None
    assert kg(course, grids) == pytest.approx(single, rel=0.04)


def test_an_agent_publishes_plans_and_follows(stage, hand, make_config):
    stage.config = make_config(
        policy={"kind": "work-price", "poll_s": 0.02, "replan_s": 5.0, "work_h": 0.5, "max_age_s": 5.0}
    )
    hand.begin_on()
    (first, *_) = stage.events("planned")
    assert first["wanted"] == {"texas": "on"}
    assert first["work_s"] == 1800.0
    eventually(lambda: MemoryStore.get(stage.store, KEYS.outlook("texas")) is not None)
    entry = MemoryStore.get(stage.store, KEYS.outlook("texas"))
    assert entry is not None
    assert entry.lease, "it goes with its agent"
    assert "the plan wants the site on" in stage.events("decided")[-1]["reason"]
