"""A meter that says something else than the power model, and is silent now and then."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from metered import CLEANER_LATER, END, HOUR, METERED_W, PUE, STARTED, STATED_W, energies, write_metered

from curtail_dist.errors import DataError
from curtail_dist.report.accounts import reckon
from curtail_dist.report.build import summarize
from curtail_dist.report.curves import cumulative
from curtail_dist.report.history import build_history
from curtail_dist.telemetry import events as ev
from curtail_dist.telemetry.record import read_events

OPENED = ev.MeterOpened(source="NVML of 4 devices", covers="4 GPUs")
ALWAYS = [(600.0, 900.0, 500.0), (900.0, END, METERED_W)]
JOULES = 200.0 * 300.0 + METERED_W * (2100.0 + 2400.0)
GAPS = (STATED_W * (600.0 + 1200.0)) * PUE
"""What the power model states for the stretches without a reading."""


@pytest.fixture
def metered(tmp_path: Path) -> Path:
    return write_metered(tmp_path / "metered", agent=[(0.0, OPENED), *energies()])


def test_what_was_metered_counts_with_pue_and_the_model_counts_in_the_gaps(metered: Path):
    summary = summarize([metered])
    site = summary["sites"]["texas"]
    assert sum(site["energy_kwh"].values()) == pytest.approx((JOULES * PUE + GAPS) / 3.6e6)
    assert site["metered_share"] == pytest.approx(JOULES * PUE / (JOULES * PUE + GAPS))
    assert (site["meter"], site["covers"], site["pue"]) == ("NVML of 4 devices", "4 GPUs", PUE)
    assert summary["metered_share"] == site["metered_share"]


def test_the_curve_ends_at_what_the_summary_says(metered: Path):
    history = build_history(read_events(metered))
    site = history.sites["texas"]
    curve = cumulative([(site.intensity, site.draws)], history.stop)
    told = summarize([metered])["emissions_kg"]
    assert curve.kg[-1] == pytest.approx(told, rel=1e-9)
    by_model = reckon(build_history([r for r in read_events(metered) if r.event != "energy"]))
    assert by_model.emissions_kg > 1.2 * told
    assert all(later >= earlier for earlier, later in zip(curve.kg, curve.kg[1:], strict=False))


def test_emissions_by_phase_add_up_and_their_parts_lie_within(metered: Path):
    site = summarize([metered])["sites"]["texas"]
    assert set(site["emissions_by_phase_kg"]) == {"train", "idle", "join", "sync"}
    assert sum(site["emissions_by_phase_kg"].values()) == pytest.approx(site["emissions_kg"])
    train_w = METERED_W * 2400.0 * STATED_W / (2340.0 * STATED_W + 60.0 * 500.0)  # a span over two phases
    late_kg = (train_w * 600.0 + STATED_W * 1200.0) * PUE * 300.0 / 3.6e9  # from 5400 s on it is 300 g/kWh
    assert site["of_which_kg"] == {"wasted": 0.0, "leave_delay": pytest.approx(late_kg)}


def test_average_embodied_and_sci_stand_beside_the_marginal(metered: Path):
    summary = summarize([metered])
    kwh = (JOULES * PUE + GAPS) / 3.6e6
    embodied = 3500.0 * (END - 600.0) / HOUR / 35000.0
    assert summary["average_kg"] == pytest.approx(kwh * 0.4)
    assert summary["embodied_kg"] == summary["sites"]["texas"]["embodied_kg"] == pytest.approx(embodied)
    sci = summary["sci_g_per_million_tokens"]
    assert sci["marginal"] == pytest.approx((summary["emissions_kg"] + embodied) * 1000 / 2)
    assert sci["average"] == pytest.approx((kwh * 0.4 + embodied) * 1000 / 2)
    assert sci["embodied_counted"]
    assert any("The meter covers 4 GPUs" in sentence for sentence in summary["not_counted"])


def test_a_run_is_compared_with_sites_that_draw_what_it_drew(tmp_path: Path):
    """Half the power throughout halves the run, the always-on site and the bound alike."""
    stated = summarize([write_metered(tmp_path / "stated", started=CLEANER_LATER)])
    half = [(600.0, 900.0, 250.0), (900.0, 4500.0, 1000.0), (4500.0, 4560.0, 250.0), (4560.0, END, 1000.0)]
    agent = [(0.0, OPENED), *energies(half)]
    metered = summarize([write_metered(tmp_path / "half", started=CLEANER_LATER, agent=agent)])
    assert metered["metered_share"] == pytest.approx(1.0)
    for key in ("emissions_kg", "oracle_kg", "oracle_schedule_kg"):
        assert metered[key] == pytest.approx(stated[key] / 2), key
    assert metered["baselines"]["texas"]["emissions_kg"] == pytest.approx(
        stated["baselines"]["texas"]["emissions_kg"] / 2
    )
    assert metered["oracle_multiple"] == pytest.approx(stated["oracle_multiple"])


def test_the_multiple_is_that_of_the_schedule_that_could_have_been(tmp_path: Path):
    summary = summarize([write_metered(tmp_path / "run", started=CLEANER_LATER, agent=energies())])
    multiple = summary["emissions_kg"] / summary["oracle_schedule_kg"]
    assert summary["possible_saving_kg"] > summary["resolvable_saving_kg"]
    assert summary["oracle_multiple"] == pytest.approx(multiple)
    assert summary["oracle_kg"] <= summary["oracle_schedule_kg"] * (1 + 1e-9)
    assert multiple > 1


def test_a_multiple_of_what_the_slots_cannot_resolve_is_unknown(metered: Path):
    summary = summarize([metered])
    assert summary["possible_saving_kg"] <= summary["resolvable_saving_kg"]
    assert summary["oracle_schedule_kg"] > 0
    assert summary["oracle_multiple"] is None


def test_what_two_agents_measured_at_once_counts_once(tmp_path: Path):
    later = replace(OPENED, source="a later meter")
    again = [(5000.0, STARTED), (5000.0, later), *energies([(5000.0, 6200.0, 9e3), (6200.0, END, METERED_W)])]
    run = write_metered(tmp_path / "twice", agent=[(0.0, OPENED), *energies()], restarted=again)
    site = summarize([run])["sites"]["texas"]
    joules = JOULES + METERED_W * (END - 6200.0)
    gaps = STATED_W * (600.0 + 200.0)  # what overlaps is left out whole
    assert sum(site["energy_kwh"].values()) == pytest.approx((joules + gaps) * PUE / 3.6e6)
    assert site["meter"] == "a later meter"


def test_an_old_record_without_a_word_of_meters_is_read_as_stated_power(tmp_path: Path):
    run = write_metered(tmp_path / "old")
    file = run / "events" / "texas.agent.1.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    new = ("pue", "embodied_kg", "lifetime_h", "covers", "average")
    old = [{key: value for key, value in line.items() if key not in new} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in old))
    summary = summarize([run])
    site = summary["sites"]["texas"]
    assert (site["metered_share"], site["meter"], site["covers"], site["pue"]) == (0.0, None, "", 1.0)
    assert (summary["average_kg"], summary["embodied_kg"]) == (None, None)
    sci = summary["sci_g_per_million_tokens"]
    assert (sci["average"], sci["embodied_counted"]) == (None, False)
    assert sci["marginal"] == pytest.approx(summary["emissions_kg"] * 1000 / 2)
    assert any(sentence.startswith("Power is stated, not measured") for sentence in summary["not_counted"])


def test_what_a_meter_states_is_not_measured(tmp_path: Path):
    half = ev.Energy(since=900.0, until=END, joules=1e6, stated_joules=5e5)
    site = summarize([write_metered(tmp_path / "sum", agent=[(END, half)])])["sites"]["texas"]
    rest = 500.0 * 300.0  # joining, by the model
    assert site["metered_share"] == pytest.approx(5e5 / (1e6 + rest))


def test_a_later_agents_average_holds_from_where_it_begins(tmp_path: Path):
    later = replace(STARTED, average=[(3600.0, 100.0), (3 * HOUR, 100.0)])
    run = write_metered(tmp_path / "run", restarted=[(3600.0, later)])
    average = build_history(read_events(run)).sites["texas"].metered.average
    assert average is not None
    assert (average.at(3599.0), average.at(3601.0), average.end) == (400.0, 100.0, 3 * HOUR)


def test_sites_that_count_different_things_are_named(tmp_path: Path, day: Path):
    other = write_metered(tmp_path / "other") / "events" / "texas.agent.1.jsonl"
    told = next(line for line in other.read_text().splitlines() if '"site_started"' in line)
    file = day / "events" / "texas.agent.1.jsonl"
    lines = [told if '"site_started"' in line else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    sentences = summarize([day])["not_counted"]
    assert any(s.startswith("california, south-australia: Embodied carbon") for s in sentences)
    assert any(s.startswith("The network between sites") for s in sentences)


def test_a_signal_that_says_average_intensity_is_noted_for_its_site(tmp_path: Path):
    def notes(name: str, basis: str) -> list[str]:
        read = ev.ReadingSeen(g_per_kwh=50.0, measured_t=0.0, source="feed", basis=basis)
        return summarize([write_metered(tmp_path / name, agent=[(0.0, read)])])["notes"]

    assert any(n.startswith("texas: its signal says average intensity") for n in notes("average", "average"))
    assert not any("average" in note for note in notes("marginal", "marginal"))


def test_energy_that_cannot_be_is_refused(tmp_path: Path):
    backwards = ev.Energy(since=900.0, until=900.0, joules=1.0)
    run = write_metered(tmp_path / "run", agent=[(900.0, backwards)])
    with pytest.raises(DataError, match="texas holds energy that cannot be"):
        summarize([run])
