"""What the figures for a paper are: smoothed perplexity, rates, GPU-hours, shares, and their picture."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from drawntexts import outside, overlapping, texts
from hypothesis import given
from hypothesis import strategies as st
from metered import END, HOUR, OUTLOOK, STARTED, energies, write_metered

from curtail_dist.energy.emissions import Interval, PowerModel, SiteEnergy, account
from curtail_dist.energy.oracle import SLOT_S
from curtail_dist.energy.saving import Saving
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.report.paper.course import follow
from curtail_dist.report.paper.figure import compose_courses
from curtail_dist.report.paper.learned import Trained, half_life, smoothed, trained
from curtail_dist.report.paper.methods import methods
from curtail_dist.report.paper.rates import Stretch, rates, slice_s
from curtail_dist.report.paper.runtable import escaped
from curtail_dist.report.paper.vector import write_vectors
from curtail_dist.report.saving import multiple_tells, saving_text
from curtail_dist.report.totals import gpu_hours, ranks_by_site, share_in_window
from curtail_dist.report.whole import Whole, read_whole
from curtail_dist.telemetry import events as ev

OPENED = ev.MeterOpened(source="NVML of 4 devices", covers="4 GPUs")
STEPS = [
    (t, ev.Step(steps=1, tokens=tokens, rows=1, loss=loss))
    for t, tokens, loss in ((1000.0, 100, 6.0), (2000.0, 300, 5.0), (3000.0, 100, None), (4000.0, 100, 4.0))
]


@pytest.fixture(scope="module")
def metered(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run with a meter, a site, some steps, and evaluations before, amid and after them."""
    evaluated = [(t, ev.Evaluated(version=1, val_bpb=bpb)) for t, bpb in ((900.0, 3.0), (2500.0, 1.25))]
    read = [
        (t, ev.ReadingSeen(g_per_kwh=value, measured_t=t, source="/srv/grids/texas.csv", from_forecast=t > 0))
        for t, value in OUTLOOK[:2]
    ]
    agent = [(0.0, OPENED), *energies(), *STEPS, *evaluated, *read]
    return read_whole([write_metered(tmp_path_factory.mktemp("paper") / "run", agent=agent)])


def test_a_smoothed_perplexity_is_of_a_mean_in_which_weight_halves_with_each_half_life(metered: Whole):
    steps = trained(metered.records)
    assert [step.by_then for step in steps] == [100, 400, 500, 600]
    found = smoothed(steps, 200.0)

    def naive(count: int) -> float:
        said = [(step, step.loss) for step in steps[:count] if step.loss is not None]
        weights = [one.tokens * 2 ** (-(steps[count - 1].by_then - one.by_then) / 200) for one, _ in said]
        mean = sum(w * loss for w, (_, loss) in zip(weights, said, strict=True)) / sum(weights)
        return math.exp(mean)

    assert found == pytest.approx([naive(1), naive(2), naive(3), naive(4)])
    assert found[1] == found[2], "a step whose loss is unknown changes nothing"


def test_a_loss_beyond_a_float_is_drawn_as_infinite_and_an_unknown_one_not_at_all():
    def step(loss: float | None) -> Trained:
        return Trained(t=0.0, site="a", tokens=1, by_then=1, loss=loss)

    assert smoothed([step(None), step(5000.0)], 1.0) == [None, math.inf]
    assert smoothed([step(0.0)], 1.0) == [1.0]


def test_the_half_life_is_that_of_the_longest_run_in_round_numbers():
    assert half_life([1_230_004, 10]) == 25_000
    assert half_life([]) == half_life([3]) == 1.0


def test_an_evaluation_stands_at_the_tokens_that_were_trained_by_then(metered: Whole):
    (course,) = follow({"run": metered}).runs
    assert [(one.tokens, one.bits_per_byte) for one in course.held_out] == [(0, 3.0), (400, 1.25)]
    assert course.best_held_out == metered.summary["loss"]["best_val_bpb"] == 1.25


@given(
    st.lists(st.tuples(st.floats(0, 9e3), st.floats(1, 5e3), st.floats(0, 50)), max_size=6),
    st.sampled_from([1.0, 60.0, 300.0]),
)
def test_means_over_slices_hold_all_energy_and_emissions(drawn, length_s):
    stretches = [
        Stretch(site="a", phase="train", start=start, stop=start + lasts, kw=kw, kg_per_h=kw / 5)
        for start, lasts, kw in drawn
    ]
    found = rates(stretches, stop=1000.0, length_s=length_s)
    assert len(found.edges) == len(found.kw) + 1 == len(found.kg_per_h) + 1
    assert found.edges[-1] >= max([1000.0, *(one.stop for one in stretches)])
    for values, unit in ((found.kw, 1.0), (found.kg_per_h, 0.2)):
        amount = sum(one.kw * unit * (one.stop - one.start) for one in stretches)
        assert sum(values) * length_s == pytest.approx(amount, abs=1e-6)


def test_slices_are_round_and_at_most_three_hundred():
    for longest in (0.0, 200.0, 18 * HOUR, 3e6, 4e8):
        assert longest / slice_s([longest]) <= 300
    assert slice_s([18 * HOUR, 5.0]) == 300.0


def drew(hours_on: float, *, threshold: float | None = 100.0, known_h: float = 24.0) -> SiteEnergy:
    """A site that trains from the start; its intensity falls below 100 after an hour."""
    intensity = StepFunction(edges=(0.0, HOUR, (known_h + 1) * HOUR), values=(300.0, 50.0))
    phases = [Interval(start=0.0, stop=hours_on * HOUR, phase="train")] if hours_on else []
    power = PowerModel(train_w=1000.0, idle_w=1.0, join_w=1.0, sync_w=1.0)
    return account(phases, power, intensity, threshold=threshold)


def test_gpu_hours_are_hours_on_times_ranks_and_unknown_without_the_ranks():
    sites = {"a": drew(4.0), "b": drew(1.0), "c": drew(0.0)}
    assert gpu_hours(sites, {"a": 8, "b": 2}) == pytest.approx(4 * 8 + 2)
    assert gpu_hours(sites, {"a": 8}) is None


def test_the_ranks_of_a_run_stand_in_its_config(tmp_path: Path):
    assert ranks_by_site(tmp_path) == {}
    site = "{signal: {kind: constant, value: 1.0}, power: {train_w: 1, idle_w: 1}"
    (tmp_path / "config.yaml").write_text(
        "run: {name: x, directory: x, start: '2026-01-01T00:00:00+00:00', deadline_h: 1}\n"
        f"sites:\n  a: {site}, provisioner: {{ranks: 4}}}}\n  b: {site}}}\ndata: {{manifest: m.json}}\n"
    )
    assert ranks_by_site(tmp_path) == {"a": 4, "b": 1}


def test_the_share_in_windows_is_one_of_energy_and_unknown_where_windows_are():
    assert share_in_window({"a": drew(4.0), "b": drew(1.0)}) == pytest.approx(3 / 5)
    assert share_in_window({"a": drew(0.0)}) is None
    unknown = Interval(start=50 * HOUR, stop=51 * HOUR, phase="train")
    power = PowerModel(train_w=1.0, idle_w=1.0, join_w=1.0, sync_w=1.0)
    site = account([unknown], power, StepFunction.from_points(OUTLOOK), threshold=100.0)
    assert share_in_window({"a": site}) is None


def saved(fraction: float | None, possible: float = 1.0, resolvable: float = 0.1) -> str | None:
    return saving_text(
        {
            "oracle_fraction": fraction,
            "possible_saving_kg": possible,
            "resolvable_saving_kg": resolvable,
        }
    )


def test_a_share_of_the_possible_saving_is_told_only_where_it_says_something():
    assert saved(0.957) == "95.7% of the possible saving"
    assert saved(-3.945) == "nothing of the possible saving: 3.94 kg more than always-on sites"
    assert saved(1.02) == "all of the possible saving, to what the reckoning's slots can resolve"
    small = saved(-3.945, possible=0.004)
    assert small is not None and "%" not in small and "0.004 kg, is too small" in small
    assert saved(None) is None
    assert saving_text({"oracle_fraction": 0.5}) == "50.0% of the possible saving"


def saving_of(share: float, *, possible_kg: float, resolvable_kg: float) -> Saving:
    """This share of this possible saving, where the reckoning can resolve so much."""
    reference_kg = 10.0
    return Saving(
        reference_kg=reference_kg,
        run_kg=reference_kg - share * possible_kg,
        bound_kg=reference_kg - possible_kg,
        work_s=reference_kg * SLOT_S / resolvable_kg,
    )


def test_a_multiple_of_the_optimum_tells_as_the_saving_does_and_none_is_below_the_bound():
    assert multiple_tells(saving_of(0.957, possible_kg=1.0, resolvable_kg=0.1))
    assert multiple_tells(saving_of(-3.945, possible_kg=1.0, resolvable_kg=0.1))
    assert not multiple_tells(saving_of(1.02, possible_kg=1.0, resolvable_kg=0.1))
    assert not multiple_tells(saving_of(0.957, possible_kg=0.1, resolvable_kg=0.11))


def test_what_can_be_resolved_is_what_always_on_sites_emit_in_a_slot(metered: Whole):
    accounts = metered.accounts
    assert accounts.reference_kg and accounts.saving
    assert accounts.saving.resolvable_kg == pytest.approx(accounts.reference_kg * 300 / accounts.work_s)
    assert metered.summary["resolvable_saving_kg"] == accounts.saving.resolvable_kg


def test_the_methods_name_meters_pue_average_and_sources_without_their_folders(metered: Whole):
    text = " ".join(paragraph for _, paragraph in methods(metered, follow({"run": metered})))
    for words in (
        "short trained at 1 site (texas) from 2026-03-21 17:00 UTC and finished after 2.00 h",
        "Energy was measured by NVML of 4 devices, which covers 4 GPUs",
        "a PUE of 1.2",
        "Marginal intensity was read from texas.csv; where that did not answer, an earlier forecast",
        f"{metered.summary['average_kg']:.3f} kg",
        f"{metered.summary['embodied_kg']:.3f} kg CO2e",
        "1.2500 bits per byte",
        "Embodied carbon counts for the hours the site was on",
    ):
        assert words in text, words
    assert "/srv" not in text
    assert f"by {STARTED.train_w:g} W training" in text


def told(directory: Path, agent: Sequence[tuple[float, ev.Event]]) -> dict[str, str]:
    run = read_whole([write_metered(directory, agent=agent)])
    return dict(methods(run, follow({"run": run})))


def read_from(source: str, t: float = 0.0) -> tuple[float, ev.Event]:
    return t, ev.ReadingSeen(g_per_kwh=50.0, measured_t=t, source=source)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["/srv/my grids/texas.csv"], "Marginal intensity was read from texas.csv."),
        (["vessim /srv/grids/texas.csv"], "was read from vessim texas.csv."),
        (
            ["vessim surplus of texas (grid /srv/my grids/g.csv, production /srv/w.csv)"],
            "was read from vessim surplus of texas (grid g.csv, production w.csv).",
        ),
        (["WattTime co2_moer ERCOT"], "was read from WattTime co2_moer ERCOT."),
        (["Prometheus query a / b at http://h:1"], "was read from Prometheus query a / b at http://h:1."),
        (
            ["constant 40 g/kWh"],
            "Marginal intensity was taken to be constant 40 g/kWh, as the run file states it.",
        ),
        (
            ["constant 40 g/kWh", "/srv/texas.csv"],
            "was read from texas.csv, and was taken to be constant 40 g/kWh, as the run file states it.",
        ),
    ],
)
def test_the_methods_name_a_source_whole_and_read_no_constant(tmp_path: Path, sources, words: str):
    read = [read_from(source, t=float(t)) for t, source in enumerate(sources)]
    assert words in told(tmp_path / "run", read)["Grid"]
    assert "/srv" not in told(tmp_path / "again", read)["Grid"]


ALL_ON = [(600.0, END, 170.0)]


@pytest.mark.parametrize(
    ("source", "covers", "said", "words"),
    [
        (
            "stated 170 W",
            "box",
            energies(ALL_ON, stated_w=170.0),
            ["Energy was stated, not measured: 170 W without PUE, for box. Energy includes a PUE of 1.2."],
        ),
        (
            "NVML of 4 devices + stated 17 W",
            "4 GPUs + fans",
            energies(ALL_ON, stated_w=17.0),
            [
                "Energy was measured by NVML of 4 devices + stated 17 W, which covers 4 GPUs + fans; "
                "10% of it is stated there and not measured. "
            ],
        ),
        (
            "NVML of 4 devices",
            "4 GPUs",
            energies(ALL_ON),
            ["Energy was measured by NVML of 4 devices, which covers 4 GPUs. "],
        ),
        (
            "stated 170 W",
            "box",
            energies([(600.0, 7000.0, 170.0)], stated_w=170.0),
            ["not measured: 170 W without PUE, for box; the 27% that it does not tell is modelled, by"],
        ),
    ],
    ids=["stated", "measured and stated", "measured", "stated and modelled"],
)
def test_the_methods_tell_apart_what_was_measured_stated_and_modelled(
    tmp_path: Path, source: str, covers: str, said, words: Sequence[str]
):
    opened = (0.0, ev.MeterOpened(source=source, covers=covers))
    text = told(tmp_path / "run", [opened, *said])
    assert all(part in text["Energy"] for part in words), text["Energy"]
    stated = source.startswith("stated")
    first = "Power is stated, not measured, for box;" if stated else f"The meter covers {covers};"
    assert text["Not counted"].startswith(first)


def test_a_run_on_the_real_clock_says_so(metered: Whole):
    records = [
        replace(record, fields={**record.fields, "virtual": False})
        if record.event == "run_started"
        else record
        for record in metered.records
    ]
    real = replace(metered, records=records)
    (_, text), *_ = methods(real, follow({"run": real}))
    assert text.endswith("Its clock was real time.")


@pytest.mark.parametrize(
    ("text", "set_as"),
    [("a_b & 50%", r"a\_b \& 50\%"), ("\\x{~}", r"\textbackslash{}x\{\textasciitilde{}\}"), ("a\nb", "a b")],
)
def test_latex_gets_names_as_they_stand(text: str, set_as: str):
    assert escaped(text) == set_as


@pytest.mark.parametrize(
    "names",
    [
        ["one"],
        ["seven $x$", *"bcdefg"],
        [f"{n} name that is far too long to be read at a glance " * 2 for n in "bc"],
    ],
)
def test_the_courses_of_runs_are_drawn_readably(metered: Whole, names: Sequence[str]):
    figure = compose_courses(follow(dict.fromkeys(names, metered)))
    assert overlapping(figure) == []
    assert outside(figure) == []
    shown = [text.get_text() for text in texts(figure)]
    assert all(any(name[:11].replace("$", r"\$") in text for text in shown) for name in names)
    assert len(figure.axes) == 6
    assert all(axes.get_xlabel() and axes.get_ylabel() and axes.get_title(loc="left") for axes in figure.axes)


def test_runs_can_be_told_apart_without_colour(metered: Whole):
    figure = compose_courses(follow(dict.fromkeys("abcdefg", metered)))
    lines = figure.legends[0].get_lines()
    assert len({str(line.get_marker()) for line in lines}) == 7
    assert len({str(line._dash_pattern) for line in lines}) == 7


def test_a_run_without_a_step_or_an_evaluation_is_drawn(tmp_path: Path):
    bare = read_whole([write_metered(tmp_path / "bare")])
    figure = compose_courses(follow({"bare": bare}))
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == [
        "Training perplexity: unknown",
        "Training perplexity: unknown",
        "Held out: never evaluated",
    ]
    assert bare.history.stop == END


def test_a_run_whose_loss_went_astray_is_drawn(tmp_path: Path):
    losses = [5000.0 if t == 4000.0 else 3.0 for t, _ in STEPS]
    steps = [(t, replace(step, loss=loss)) for (t, step), loss in zip(STEPS, losses, strict=True)]
    run = read_whole([write_metered(tmp_path / "astray", agent=steps)])
    figure = compose_courses(follow({"astray": run}))
    figure.canvas.draw()
    assert figure.axes[0].get_ylim()[1] < 1e15
    assert figure.axes[0].get_title(loc="left") == "Training perplexity: down to 20.09"


def test_the_same_run_gives_the_same_vectors(metered: Whole, tmp_path: Path):
    made: list[list[bytes]] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        figures = {"courses": compose_courses(follow({"run": metered}))}
        files = write_vectors(tmp_path / name, figures, title="run")
        assert [file.name for file in files] == ["courses.svg", "report.pdf"]
        made.append([file.read_bytes() for file in files])
    assert made[0] == made[1]
