import pytest

from curtail_dist.config.meter import FootprintConfig
from curtail_dist.energy.emissions import Interval, PowerModel, account
from curtail_dist.energy.footprint import embodied_share_kg, footprint, not_counted
from curtail_dist.energy.meters.spans import Span
from curtail_dist.energy.stepfunction import StepFunction

POWER = PowerModel(train_w=2000.0, idle_w=500.0, join_w=500.0, sync_w=500.0)
FLAT = StepFunction(edges=(0.0, 36000.0), values=(100.0,))
AVERAGE = StepFunction(edges=(0.0, 36000.0), values=(400.0,))
HARDWARE = FootprintConfig(embodied_kg=3500.0, lifetime_h=35000.0)


def site(average=AVERAGE, power=POWER):
    phases = [
        Interval(start=0.0, stop=1800.0, phase="join"),
        Interval(start=1800.0, stop=5400.0, phase="train"),
        Interval(start=5400.0, stop=7200.0, phase="sync"),
    ]
    return account(phases, power, FLAT, average=average)


def test_sci_is_energy_times_intensity_plus_embodied_per_million_tokens():
    found = footprint({"a": site(), "b": site()}, {"a": HARDWARE, "b": HARDWARE}, tokens=4_000_000)
    assert found.energy_kwh == pytest.approx(5.0)  # 2 sites: .25 joining, 2 training, .25 exchanging
    assert found.marginal_kg == pytest.approx(0.5)
    assert found.average_kg == pytest.approx(2.0)
    assert found.embodied_kg == pytest.approx(0.4)  # 2 sites on for 2 h, .1 kg an hour
    assert found.marginal_g_per_mtok == pytest.approx((500 + 400) / 4)
    assert found.average_g_per_mtok == pytest.approx((2000 + 400) / 4)
    assert found.modelled_kwh == pytest.approx(5.0)


def test_embodied_carbon_is_spread_over_the_hours_of_use():
    assert embodied_share_kg(HARDWARE, 3600.0) == pytest.approx(0.1)
    assert embodied_share_kg(HARDWARE, 0.0) == 0.0
    assert embodied_share_kg(FootprintConfig(), 3600.0) is None


def test_what_one_site_does_not_know_makes_the_sum_unknown_not_smaller():
    found = footprint(
        {"a": site(), "b": site(average=None)}, {"a": HARDWARE, "b": FootprintConfig()}, tokens=10**6
    )
    assert (found.average_kg, found.embodied_kg, found.average_g_per_mtok) == (None, None, None)
    assert found.marginal_g_per_mtok == pytest.approx(500)
    marginal, energy, sci = found.lines(no_tokens="")
    assert marginal.endswith("location-based average unknown")
    assert energy.endswith("embodied carbon not counted")
    assert sci == "SCI (operational only) 500.000 g per million tokens marginal, unknown average"


def test_all_that_is_known_is_printed():
    assert footprint({"a": site()}, {"a": HARDWARE}, tokens=2_000_000).lines(no_tokens="") == (
        "marginal 0.250 kg CO2, location-based average 1.000 kg",
        "energy 2.500 kWh with PUE, all of it modelled; embodied carbon 0.200 kg",
        "SCI (with embodied) 225.000 g per million tokens marginal, 600.000 g per million tokens average",
    )


def test_what_a_meter_measured_is_not_called_modelled():
    half = account(
        [Interval(start=0.0, stop=7200.0, phase="train")],
        POWER,
        FLAT,
        metered=[Span(start=0.0, stop=3600.0, joules=POWER.watts("train") * 3600.0, stated=0.0)],
    )
    energy = footprint({"a": half}, {"a": HARDWARE}, tokens=1).lines(no_tokens="")[1]
    assert energy.startswith("energy 4.000 kWh with PUE, 2.000 kWh of it modelled; ")


def test_without_a_token_there_is_no_sci():
    found = footprint({"a": site()}, {"a": HARDWARE}, tokens=0)
    assert (found.marginal_g_per_mtok, found.average_g_per_mtok) == (None, None)
    told = found.lines(no_tokens="give --tokens-per-second")[-1]
    assert told == "SCI per million tokens unknown: no tokens are counted; give --tokens-per-second"


def said(config=FootprintConfig(), covers="", metered=False, average_known=False):  # noqa: B008 - frozen
    return " ".join(not_counted(config, covers=covers, metered=metered, average_known=average_known))


def test_what_is_not_counted_is_said():
    plain = said()
    for words in ("Power is stated", "PUE 1.0", "embodied_kg is not given", "average emissions are unknown"):
        assert words in plain
    assert "no average intensity is given, or none for all the time in which power was drawn" in plain
    for words in ("network between sites", "while the site is off", "Trial runs"):
        assert words in plain and words in said(HARDWARE, covers="all", metered=True, average_known=True)


def test_what_is_counted_is_not_said_to_be_left_out():
    config = FootprintConfig(pue=1.2, embodied_kg=1.0, lifetime_h=1.0)
    full = said(config, covers="4 GPUs", metered=True, average_known=True)
    assert "The meter covers 4 GPUs" in full
    for words in ("Power is stated", "PUE 1.0", "embodied_kg is not given", "average emissions are unknown"):
        assert words not in full
    assert "stated, not measured, for the machine at the wall" in said(covers="the machine at the wall")
