import math
from dataclasses import replace

import pytest

from curtail_dist.energy.emissions import PowerModel
from curtail_dist.energy.futures import Foresight
from curtail_dist.energy.policy import Advice
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.workprice import Prospect, Question, advise

POWER = PowerModel(train_w=2000.0, idle_w=500.0, join_w=500.0, sync_w=500.0)
CAPPED = replace(POWER, capped_w=1000.0, capped_speed=0.8)
SLOT = 300.0


def series(*values):
    return StepFunction(
        edges=tuple(SLOT * i for i in range(len(values) + 1)), values=tuple(map(float, values))
    )


def site(*futures, power=POWER, on=False, joins_s=0.0):
    return Prospect(futures=tuple(series(*future) for future in futures), power=power, on=on, joins_s=joins_s)


def ask(work_slots, *, join_s=0.0, efficiency=1.0, change_s=0.0, **sites):
    slots = len(next(iter(sites.values())).futures[0].values)
    return advise(
        Question(
            now=0.0,
            deadline_s=SLOT * slots,
            work_s=SLOT * work_slots,
            sites=sites,
            join_s=join_s,
            pair_efficiency=efficiency,
            change_s=change_s,
        )
    )


def test_work_is_done_where_and_when_it_emits_least():
    assert ask(2, a=site([50, 400, 50, 400])).wanted == {"a": "on"}
    assert ask(2, a=site([400, 50, 50, 400])).wanted == {"a": "off"}
    assert ask(2, a=site([400, 400, 400]), b=site([50, 50, 50])).wanted == {"a": "off", "b": "on"}


def test_without_time_to_spare_every_site_is_on_whatever_its_intensity():
    fits = ask(8, a=site([400] * 4), b=site([500] * 4))
    assert fits.wanted == {"a": "on", "b": "on"}
    assert math.isfinite(fits.price)
    late = ask(8.1, a=site([400] * 4), b=site([500] * 4))
    assert late.wanted == {"a": "late", "b": "late"}
    assert math.isinf(late.price)


def test_work_that_fits_in_one_future_alone_is_not_given_up():
    sometimes = site([100] * 8, [100] * 4)
    assert ask(6, a=sometimes).wanted == {"a": "on"}


def test_no_work_is_left_for_no_one():
    assert ask(0, a=site([10] * 4)).wanted == {"a": "off"}


def test_after_the_deadline_all_that_are_left_are_wanted():
    question = Question(now=10.0, deadline_s=10.0, work_s=1.0, sites={"a": site([10])}, join_s=0.0)
    assert advise(question).wanted == {"a": "late"}


def test_a_dip_too_short_to_pay_for_a_start_is_left_out():
    day = [300, 290, 300, 300, 20, 20, 20, 20]
    assert ask(3, a=site(day), join_s=300.0).wanted == {"a": "off"}
    stays = [310, 290, 290, 300, 300, 300]
    assert ask(3, a=site(stays, on=True), join_s=290.0).wanted == {"a": "on"}  # leaving would cost a start


def test_a_commitment_makes_a_start_dearer_and_not_a_stay():
    day = [100, 120, 100, 120, 100, 100]
    assert ask(2, a=site(day)).wanted == {"a": "on"}
    assert ask(2, a=site(day), change_s=3000.0).wanted == {"a": "off"}
    assert ask(2, a=site(day, on=True), change_s=3000.0).wanted == {"a": "on"}


def test_a_second_site_is_wanted_only_where_it_is_worth_what_it_takes_from_the_first():
    sites = {"a": site([100, 100, 100, 120], on=True), "b": site([110, 400, 400, 400])}
    assert ask(2.5, efficiency=1.0, **sites).wanted["a"] == "on"
    assert ask(4.2, efficiency=1.0, **sites).wanted == {"a": "on", "b": "on"}
    assert ask(3.5, efficiency=0.6, **sites).wanted == {"a": "on", "b": "off"}


def test_under_a_low_price_a_site_trains_capped_and_at_full_power_under_a_high_one():
    assert ask(3.2, a=site([100] * 4, power=CAPPED)).wanted == {"a": "capped"}
    assert ask(4, a=site([100] * 4, power=CAPPED)).wanted == {"a": "on"}


def test_a_site_is_off_where_its_future_is_unknown():
    late = Prospect(futures=(StepFunction(edges=(300.0, 1200.0), values=(10.0,)),), power=POWER, on=False)
    question = Question(now=0.0, deadline_s=1200.0, work_s=900.0, sites={"a": late}, join_s=0.0)
    assert advise(question).wanted == {"a": "off"}


def test_without_a_site_there_is_nothing_to_plan_whether_work_is_left_or_not():
    for work_s in (0.0, 600.0):
        question = Question(now=0.0, deadline_s=900.0, work_s=work_s, sites={}, join_s=0.0)
        assert advise(question) == Advice(price=0.0, wanted={})


def test_what_is_certain_now_is_taken_when_what_comes_may_be_worse():
    certain = ask(2, a=site([200, 10, 10, 10], [200, 10, 10, 10]))
    doubtful = ask(2, a=site([200, 10, 10, 10], [200, 600, 600, 600]))
    assert (certain.wanted["a"], doubtful.wanted["a"]) == ("off", "on")
    assert doubtful.price > certain.price


@pytest.mark.parametrize("sites", [2, 12])
def test_more_work_never_has_a_lower_price(sites):
    grids = {f"s{i}": site([50 + 37 * ((i + t) % 9) for t in range(12)]) for i in range(sites)}
    prices = [ask(work * sites, efficiency=0.8, **grids).price for work in (1, 3, 6, 9)]
    assert prices == sorted(prices)


def test_many_sites_each_decide_for_themselves_that_some_other_trains():
    grids = {f"s{i}": site([50.0 if i < 6 else 400.0] * 4) for i in range(12)}
    wanted = ask(6 * 4 * 0.8 - 0.5, efficiency=0.8, **grids).wanted
    assert {name for name, state in wanted.items() if state == "on"} == {f"s{i}" for i in range(6)}


def test_futures_are_of_the_days_gone_by_and_drawn_to_what_is_read():
    history = StepFunction(
        edges=(-172800.0, -86400.0, -43200.0, 0.0, 300.0), values=(100.0, 200.0, 300.0, 50.0)
    )
    foresight = Foresight(nearness_s=1e-3)
    count = foresight.count(history, 0.0)
    yesterday, before = foresight.of(now=0.0, until=86400.0, reading=50.0, history=history, count=count)
    assert (yesterday.at(0.0), yesterday.at(300.0), yesterday.at(50000.0)) == (50.0, 200.0, 300.0)
    assert (before.at(300.0), before.at(50000.0)) == (100.0, 100.0)
    (kept,) = Foresight().of(now=0.0, until=7200.0, reading=77.0)
    assert kept.values == (77.0,) * 24


def test_a_forecast_stands_in_every_future_as_far_as_it_goes():
    foreseen = StepFunction(edges=(0.0, 600.0), values=(33.0,))
    history = StepFunction(edges=(-172800.0, 0.0), values=(100.0,))
    futures = Foresight().of(now=0.0, until=1200.0, reading=9.0, history=history, forecast=foreseen, count=2)
    assert [future.at(500.0) for future in futures] == [33.0, 33.0]
    assert [future.at(600.0) for future in futures] == [33.0, 33.0]  # and from there on towards history
    assert all(future.at(900.0) > 33.0 for future in futures)


def test_a_commitment_counts_for_starts_to_come_so_that_a_site_stays_through_a_bump():
    day = [110, 100, 100, 100, 400]
    assert ask(3, a=site(day, on=True)).wanted == {"a": "off"}
    assert ask(3, a=site(day, on=True), change_s=600.0).wanted == {"a": "on"}


def test_a_future_longer_than_its_days_begins_them_again():
    history = StepFunction(edges=(-172800.0, -86400.0, 0.0), values=(100.0, 200.0))
    foresight = Foresight(nearness_s=1e-3)
    one, two = foresight.of(now=0.0, until=259200.0, reading=200.0, history=history, count=2)
    assert [one.at(day * 86400.0 + 600.0) for day in range(3)] == [200.0, 200.0, 200.0]
    assert [two.at(day * 86400.0 + 600.0) for day in range(3)] == [100.0, 200.0, 100.0]
