"""methods.md: what of a run was measured, what was modelled and what is not counted, for a paper to take up.

Generated from the run's own record, so it says of this run what holds for this run, site by site.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from pathlib import Path, PurePath
from typing import Any

from curtail_dist.energy.emissions import SiteEnergy
from curtail_dist.energy.signals import CONSTANT
from curtail_dist.report.history import SiteHistory
from curtail_dist.report.paper.course import Courses
from curtail_dist.report.paper.learned import byte_perplexity
from curtail_dist.report.saving import saving_text
from curtail_dist.report.whole import Whole
from curtail_dist.telemetry.record import Record

_FILE = re.compile(r"(?:^|(?<= ))/.*?(?=, production /|\)$|$)")
"""A file in the source of a trace, or of a microgrid, which names those of its grid and of its production."""


def methods(run: Whole, courses: Courses) -> list[tuple[str, str]]:
    """Return titled paragraphs on one run; `courses` says how its losses were made smooth."""
    return [
        ("The run", " ".join(_the_run(run))),
        ("Grid", " ".join(_grid(run))),
        ("Energy", " ".join(_energy(run))),
        ("Emissions", " ".join(_emissions(run.summary))),
        ("Learning", " ".join(_learning(run, courses))),
        ("Compared with", " ".join(_compared(run.summary))),
        ("Not counted", " ".join(run.summary["not_counted"])),
    ]


def write_methods(run_dir: Path, paragraphs: Iterable[tuple[str, str]]) -> Path:
    """Write the paragraphs as Markdown and return the file."""
    file = run_dir / "methods.md"
    file.write_text(
        "\n\n".join(f"**{title}.** {text}" for title, text in paragraphs) + "\n", encoding="utf-8"
    )
    return file


def _the_run(run: Whole) -> list[str]:
    history, summary = run.history, run.summary
    start = history.start.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    state = "finished" if summary["finished"] else "had not finished"
    rows, count = summary["rows"], f"{len(history.sites)} site{'' if len(history.sites) == 1 else 's'}"
    virtual = any(record.event == "run_started" and record["virtual"] for record in run.records)
    clock = (
        "Its clock was virtual: how long an inner step, an exchange and a start take was assumed, not "
        f"measured; all of it took {summary['wall_s']:,.0f} s of real time."
        if virtual
        else "Its clock was real time."
    )
    return [
        f"{history.run} trained at {count} ({', '.join(history.sites)}) from {start} and "
        f"{state} after {summary['virtual_h']:.2f} h: {summary['tokens']:,} tokens in {summary['commits']:,} "
        f"versions, {rows['trained']:,} of {rows['total']:,} rows done once, {rows['duplicated']:,} twice, "
        f"{rows['lost']:,} lost.",
        *([f"{rows['untold']:,} rows are in versions of which no record is here."] if rows["untold"] else []),
        clock,
    ]


def _grid(run: Whole) -> list[str]:
    sites = run.history.sites
    told = _by_site(sites, lambda site: _signal(site, run.records))
    threshold = _by_site(
        sites, lambda site: f"a window is where that is below {site.threshold_g_per_kwh:g} g CO2/kWh."
    )
    made_up = [name for name, site in sites.items() if site.synthetic]
    synthetic = (
        [f"The traces of {', '.join(made_up)} are synthetic, made up and not measured."] if made_up else []
    )
    return [*told, *threshold, *synthetic]


def _signal(site: SiteHistory, records: Iterable[Record]) -> str:
    read = [record for record in records if record.event == "reading" and record.site == site.name]
    basis = (
        "average intensity, its signal knowing no marginal one,"
        if site.average_read
        else "marginal intensity"
    )
    sources = dict.fromkeys(_shown(str(record["source"])) for record in read)
    if not sources:
        return f"{basis} was taken from the outlook that was known at the start, since nothing was read."
    forecast = any(record.fields.get("from_forecast") for record in read)
    late = "; where that did not answer, an earlier forecast stood in" if forecast else ""
    stated = [source for source in sources if source.startswith(CONSTANT)]
    asked = [source for source in sources if source not in stated]
    found = [f"was read from {', '.join(asked)}{late}"] if asked else []
    found += [f"was taken to be {', '.join(stated)}, as the run file states it"] if stated else []
    return f"{basis} {', and '.join(found)}."


def _shown(source: str) -> str:
    """Return a source as people name it: of a file its name, not where it lay."""
    if not source.startswith(("/", "vessim ")):
        return source
    return _FILE.sub(lambda file: PurePath(file[0]).name, source)


def _energy(run: Whole) -> list[str]:
    told = _by_site(run.history.sites, lambda site: _power(site, run.accounts.sites[site.name]))
    pue = _by_site(
        run.history.sites, lambda site: f"energy includes a PUE of {site.metered.footprint.pue:g}."
    )
    share = run.summary["share_in_window"]
    within = [] if share is None else [f"{share:.1%} of the energy was drawn inside of windows."]
    return [
        *told,
        *pue,
        f"All sites drew {run.summary['energy_kwh']:.3f} kWh, "
        f"{run.summary['metered_share']:.0%} of it measured.",
        *within,
    ]


def _power(site: SiteHistory, energy: SiteEnergy) -> str:
    power, meter = site.power, site.metered
    model = (
        f"{power.train_w:g} W training, {power.idle_w:g} W idle, {power.join_w:g} W joining and "
        f"{power.sync_w:g} W exchanging (PUE included)"
    )
    if not meter.spans:
        return f"energy was modelled, not measured: the time in each phase times {model}."
    source, covers = meter.source or "a meter", meter.covers or "what nobody said"
    modelled_kwh = energy.modelled_kwh - energy.stated_kwh
    modelled = f"the {_share(modelled_kwh, energy)} that it does not tell is modelled, by {model}"
    if not meter.measures:
        beyond = f"; {modelled}" if modelled_kwh > 0 else ""
        power = source.removeprefix("stated ")
        return f"energy was stated, not measured: {power} without PUE, for {covers}{beyond}."
    parts = [f"energy was measured by {source}, which covers {covers}"]
    if energy.stated_kwh > 0:
        parts.append(f"{_share(energy.stated_kwh, energy)} of it is stated there and not measured")
    if modelled_kwh > 0:
        parts.append(modelled)
    return f"{'; '.join(parts)}."


def _share(kwh: float, energy: SiteEnergy) -> str:
    """Return a part of a site's energy that is not nothing."""
    share = kwh / energy.total_kwh
    return "less than 1%" if share < 0.01 else f"{share:.0%}"


def _emissions(summary: Mapping[str, Any]) -> list[str]:
    average, embodied = summary["average_kg"], summary["embodied_kg"]
    return [
        "Emissions are energy times intensity, integrated over training, idling, joining, exchanging and "
        f"work thrown away: {summary['emissions_kg']:.3f} kg CO2.",
        "By the grid's location-based average intensity they are "
        + (
            "unknown, for no such intensity was given for all sites."
            if average is None
            else f"{average:.3f} kg."
        ),
        "Embodied carbon of the hardware is "
        + ("not counted." if embodied is None else f"{embodied:.3f} kg CO2e, by hours on, and not in these."),
    ]


def _learning(run: Whole, courses: Courses) -> list[str]:
    bits = run.summary["loss"]["best_val_bpb"]
    held_out = (
        "The held-out split was not evaluated."
        if bits is None
        else (
            f"On the held-out split the least loss was {bits:.4f} bits per byte, a perplexity of "
            f"{byte_perplexity(bits):.3f} per byte."
        )
    )
    gpu = run.summary["gpu_hours"]
    return [
        "Training perplexity is per token, the exponential of the loss on the rows being trained, and "
        "smoothed: a token's weight in the mean loss halves with every "
        f"{courses.half_life_tokens:,.0f} tokens trained since.",
        held_out,
        "GPU-hours are unknown, since the sites' ranks are."
        if gpu is None
        else f"GPU-hours ({gpu:.1f}) are the hours that sites were on times the ranks of each, a GPU a rank.",
    ]


def _compared(summary: Mapping[str, Any]) -> list[str]:
    best, saving = summary["oracle_schedule_kg"], saving_text(summary)
    found = [
        "Always-on sites do the same work from the start without a pause, at the power drawn in training; "
        "the optimum is the best schedule found by one who knows all intensities beforehand. Both are "
        "reckoned, not run."
    ]
    if best is not None:
        found.append(f"The optimum emits {best:.3f} kg.")
    return [*found, *([f"This run: {saving}."] if saving else [])]


def _by_site(sites: Mapping[str, SiteHistory], tell: Callable[[SiteHistory], str]) -> list[str]:
    """Return each sentence once, with the sites that it holds for unless that is all."""
    said: dict[str, list[str]] = {}
    for name, site in sites.items():
        said.setdefault(tell(site), []).append(name)
    return [
        f"{sentence[0].upper()}{sentence[1:]}"
        if len(names) == len(sites)
        else f"At {', '.join(names)} {sentence}"
        for sentence, names in said.items()
    ]
